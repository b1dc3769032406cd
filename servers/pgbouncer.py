"""PgBouncer in transaction mode before a PostgreSQL server, with fewer connections than it has clients."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers.ports import free_port
from servers.postgres import NOBODY, PostgresServer, as_nobody

PROGRAM = "/usr/sbin/pgbouncer"
START_SECONDS_MAX = 10.0


@contextmanager
def pooling(server: PostgresServer, *, connections: int = 2) -> Iterator[int]:
    """The port of a pooler before the server. Its answer to the last client may come from any connection."""
    assert shutil.which(PROGRAM), "the suite needs PgBouncer; python scripts/servers.py pgbouncer"
    folder = Path(tempfile.mkdtemp(prefix="perdure-pgbouncer-"))
    port = free_port()
    (folder / "users").write_text('"postgres" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={server.port} user=postgres\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\nauth_file = {folder}/users\n"
        f"pool_mode = transaction\ndefault_pool_size = {connections}\nmax_client_conn = 200\nserver_round_robin = 1\n"
    )
    if os.geteuid() == 0:
        for path in (folder, *folder.iterdir()):
            os.chown(path, NOBODY, NOBODY)
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([*as_nobody(), PROGRAM, f"{folder}/pgbouncer.ini"], stdout=log, stderr=log, cwd="/")
    try:
        ends = time.monotonic() + START_SECONDS_MAX
        while "listening on" not in (folder / "log").read_text():
            if process.poll() is not None or time.monotonic() > ends:
                raise RuntimeError(f"PgBouncer did not start:\n{(folder / 'log').read_text()}")
            time.sleep(0.02)
        yield port
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
