"""Installs the database servers of Debian that suites of `make ci` start for themselves; needs root and apt.

    python scripts/servers.py mariadb redis

What is there already stays as it is. Only packages that bring programs are installed, none that starts a service,
so that no server runs afterwards that was not running before.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Server:
    """What one server needs: its programs, the packages they come in, and which suite starts it."""

    programs: tuple[str, ...]
    packages: tuple[str, ...]
    why: str


SERVERS = {
    "mariadb": Server(
        programs=("mariadbd", "mariadb-install-db", "my_print_defaults"),
        packages=("mariadb-server-core", "mariadb-client-core"),
        why="the suite `mariadb` runs the MySQL dialect on MariaDB; the client's package has my_print_defaults, "
        "which makes new data directories",
    ),
    "pgbouncer": Server(
        programs=("pgbouncer",),
        packages=("pgbouncer",),
        why="the suite `pgbouncer` runs the PostgreSQL dialect behind it",
    ),
    "redis": Server(
        programs=("redis-check-rdb",),
        packages=("redis-tools",),
        why="the suite `redis` runs the store on Redis, whose server is the program redis-check-rdb under another name",
    ),
}


def main(names: list[str]) -> int:
    """Install what the named servers lack; exit code 2 for a name that is unknown."""
    unknown = [name for name in names if name not in SERVERS]
    if unknown or not names:
        print(f"usage: servers.py {' | '.join(SERVERS)}", file=sys.stderr)
        return 2
    for name in names:
        code = _install(name, SERVERS[name])
        if code:
            return code
    return 0


def _install(name: str, server: Server) -> int:
    missing = [program for program in server.programs if _found(program) is None]
    if not missing:
        print(f"{name}: all there ({', '.join(server.programs)})")
        return 0
    print(f"{name}: {', '.join(missing)} missing; installing {', '.join(server.packages)}, because {server.why}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *server.packages]):
        whole = ["/usr/bin/apt-get", "--quiet", "--quiet", *command]
        code = subprocess.run(whole, env=environment, check=False).returncode
        if code:
            print(f"apt-get {command[0]} failed with {code}: run this as root on Debian", file=sys.stderr)
            return code
    return 0


def _found(program: str) -> str | None:
    """Where the program is; servers stand in folders that are not on the path of every user."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
