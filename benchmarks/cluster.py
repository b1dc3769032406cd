"""What stores on database servers cost, and what several nodes cost: each scenario starts its servers and ends them.

`python -m benchmarks.cluster SCENARIO perdure FOLDER [--quick]` prints a sample as one line of JSON. A scenario that
does not end within its bound fails, and so does one whose server or peer is missing.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks import published
from benchmarks.databases import (
    bytes_of,
    new_database,
    on_mariadb,
    on_postgres,
    on_valkey,
    transactions,
    wait_until_shared,
)
from benchmarks.load import ORDER
from benchmarks.processes import ROOT, Other, running
from benchmarks.size import FULL, QUICK, Size
from servers.postgres import PostgresServer

Sample = dict[str, Any]
AT_ONCE = 1_000
PEER_AT_ONCE = (AT_ONCE, 64)
"""The peer's best of these counts."""
LEASE_SECONDS = 10.0
"""That of a store on a server, if its address says nothing."""
LOOK_SECONDS = 0.1
BOUNDS = {
    "postgres": 500.0,
    "valkey": 500.0,
    "mariadb": 500.0,
    "commit": 300.0,
    "takeover": 500.0,
    "two_nodes": 500.0,
    "idle_nodes": 500.0,
    "filled": 2_400.0,
    "sleeping_nodes": 2_400.0,
}
"""Seconds that each scenario may take."""


def postgres(_folder: Path, size: Size) -> Sample:
    """Workflows of one activity on Perdure and on DBOS, each in a database of its own of one server."""
    with on_postgres() as server:
        perdure = _crowd(new_database(server, "perdure"), size)
        peer = _printed(published.dbos(new_database(server, "dbos"), size.peer_crowd, *PEER_AT_ONCE))
    best = min(peer.values())
    return {**perdure, "peer_wall_s": best, "ratio": best / perdure["wall_s"], "peer": peer}


def valkey(folder: Path, size: Size) -> Sample:
    """Workflows of one activity on PostgreSQL and on Valkey."""
    with on_valkey(folder) as url:
        return _beside_postgres(url, size)


def mariadb(_folder: Path, size: Size) -> Sample:
    """Workflows of one activity on PostgreSQL and on MariaDB."""
    with on_mariadb() as url:
        return _beside_postgres(url, size)


def commit(_folder: Path, size: Size) -> Sample:
    """A lone sequential step, and one commit of one row before and after it."""
    with on_postgres() as server:
        plain, url = new_database(server, "plain"), new_database(server, "perdure")
        before = asyncio.run(_commits(plain, size.commits))
        sample = _child("lone", url, size)
        commit_s = (before + asyncio.run(_commits(plain, size.commits))) / 2
    return {**sample, "commit_s": commit_s, "ratio": sample["wall_s"] / commit_s}


def takeover(_folder: Path, size: Size) -> Sample:
    """Two nodes with twice as many instances in flight; one is killed, and the other runs all of them again."""
    everyone = 2 * size.taken_over
    with on_postgres() as server, ExitStack() as stack:
        url = new_database(server, "perdure")
        stays, dies = _nodes(stack, server, url, 2)
        stays.asked(f"hold 0 {everyone}")
        while stays.asked("entered")["count"] + dies.asked("entered")["count"] < everyone:
            time.sleep(LOOK_SECONDS)
        lost = dies.asked("entered")["count"]
        killed_at = time.monotonic()
        dies.kill()
        while (seen := stays.asked("entered"))["count"] < everyone:
            time.sleep(LOOK_SECONDS)
    wall = seen["last_at_s"] - killed_at
    return {"wall_s": wall, "after_lease_s": wall - LEASE_SECONDS, "count": lost}


def two_nodes(_folder: Path, size: Size) -> Sample:
    """CPU of the nodes per workflow: of one; of two, each of which starts its own; of two that start any."""
    sample: Sample = {"refused": 0}
    with on_postgres() as server:
        for word, nodes, line in (("one", 1, "crowd"), ("home", 2, "home"), ("any", 2, "crowd")):
            with ExitStack() as stack:
                members = _nodes(stack, server, new_database(server, f"of_{word}"), nodes)
                _together(members, f"{line} warm", size.warm_up)
                spent, began = _cpu(members), time.perf_counter()
                _together(members, f"{line} one", size.crowd)
                sample[f"{word}_wall_s"] = (time.perf_counter() - began) / size.crowd
                sample[f"{word}_cpu_s"] = (_cpu(members) - spent) / size.crowd
                sample["refused"] += sum(member.asked("refused")["count"] for member in members)
    return sample


def idle_nodes(_folder: Path, size: Size) -> Sample:
    """Transactions and CPU a second of nodes that have nothing to do, per number of nodes."""
    seen: dict[str, float] = {}
    with on_postgres() as server:
        for nodes in size.nodes:
            with ExitStack() as stack:
                name = f"idle{nodes}"
                members = _nodes(stack, server, new_database(server, name), nodes)
                time.sleep(size.settle)
                spent, before, began = _cpu(members), transactions(server, name), time.perf_counter()
                time.sleep(size.quiet)
                seconds = time.perf_counter() - began
                seen[f"{nodes}"] = (transactions(server, name) - before) / seconds
                seen[f"{nodes}_cpu"] = (_cpu(members) - spent) / seconds
    most = max(size.nodes)
    return {"per_node": seen[f"{most}"] / most, "traffic": seen, "nodes": list(size.nodes)}


def filled(_folder: Path, size: Size) -> Sample:
    """Throughput in an empty store, in one full of finished instances, and in an empty one again."""
    with on_postgres() as server, ExitStack() as stack:
        before = _child("one_at_1000", new_database(server, "before"), size)
        url = new_database(server, "filled")
        filler = stack.enter_context(_node(url))
        filler.asked(f"crowd filling {size.stored} {AT_ONCE}")
        _end(filler)
        full = _child("one_at_1000", url, size)
        after = _child("one_at_1000", new_database(server, "after"), size)
    empty_s = (before["wall_s"] + after["wall_s"]) / 2
    return {"ratio": empty_s / full["wall_s"], "wall_s": full["wall_s"], "empty_s": empty_s, "count": size.stored}


def sleeping_nodes(_folder: Path, size: Size) -> Sample:
    """Memory of the node that started very many sleeping workflows, then of one that starts when they are there."""
    with on_postgres() as server, ExitStack() as stack:
        url = new_database(server, "perdure")
        first = stack.enter_context(_node(url))
        empty = bytes_of(server, "perdure")
        first.asked(f"sleep far {size.stored}")
        time.sleep(size.settle)
        starter_mb = first.resident_mb()
        _end(first)
        server.execute("checkpoint")
        stored = (bytes_of(server, "perdure") - empty) / size.stored
        began = time.perf_counter()
        second = stack.enter_context(_node(url))
        ready = time.perf_counter() - began
        wait_until_shared(server, "perdure", 1)
        owned = time.perf_counter() - began
        time.sleep(size.settle)
        node_mb = second.resident_mb()
    return {
        "rss_mb": max(starter_mb, node_mb),
        "starter_mb": starter_mb,
        "node_mb": node_mb,
        "ready_s": ready,
        "owned_s": owned,
        "bytes_each": stored,
        "count": size.stored,
    }


def _beside_postgres(url: str, size: Size) -> Sample:
    """The store at an address against one on PostgreSQL, which has its turn before and after."""
    with on_postgres() as server:
        before = _crowd(new_database(server, "before"), size)
        sample = _crowd(url, size)
        after = _crowd(new_database(server, "after"), size)
    postgres_s = (before["wall_s"] + after["wall_s"]) / 2
    return {**sample, "postgres_s": postgres_s, "ratio": postgres_s / sample["wall_s"]}


def _crowd(url: str, size: Size) -> Sample:
    return _child("one_at_1000", url, size)


def _child(scenario: str, url: str, size: Size) -> Sample:
    command = [sys.executable, "-m", "benchmarks.child", scenario, "perdure", url]
    return _printed([*command, "--quick"] if size is QUICK else command)


def _printed(command: list[str]) -> Sample:
    """What a process prints as a line of JSON; it ends with this one."""
    with _killed_at_end(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)) as process:
        output, _ = process.communicate()
    if process.returncode or not output:
        raise RuntimeError(f"{' '.join(command[:4])} ended with {process.returncode}; its error is above")
    sample: Sample = json.loads(output.splitlines()[-1])
    return sample


@contextmanager
def _killed_at_end(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def _commits(url: str, count: int) -> float:
    """Seconds of one commit of one row of a step's size."""
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        await connection.execute("create table if not exists plain (id bigserial primary key, data text not null)")
        insert = await connection.prepare("insert into plain (data) values ($1)")
        data = json.dumps({"result": ORDER, "more": "x" * 100})
        await insert.fetch(data)
        began = time.perf_counter()
        for _ in range(count):
            await insert.fetch(data)
        return (time.perf_counter() - began) / count
    finally:
        await connection.close()


@contextmanager
def _node(url: str) -> Iterator[Other]:
    with running([sys.executable, "-m", "benchmarks.node", url], "ready") as node:
        yield node


def _nodes(stack: ExitStack, server: PostgresServer, url: str, count: int) -> list[Other]:
    """Nodes that have shared the shards among them."""
    nodes = [stack.enter_context(_node(url)) for _ in range(count)]
    wait_until_shared(server, url.rpartition("/")[2], count)
    return nodes


def _together(nodes: list[Other], line: str, count: int) -> None:
    """So many workflows, each node being asked for its part at the same time. The line ends with their prefix."""
    for number, node in enumerate(nodes):
        node.hear(f"{line}-{number} {count // len(nodes)} {AT_ONCE // len(nodes)}")
    for node in nodes:
        node.answer()


def _cpu(nodes: list[Other]) -> float:
    return sum(node.cpu_seconds() for node in nodes)


def _end(node: Other) -> None:
    node.hear("end")
    node.says("ended")


SCENARIOS: dict[str, Callable[[Path, Size], Sample]] = {
    scenario.__name__: scenario
    for scenario in (postgres, valkey, mariadb, commit, takeover, two_nodes, idle_nodes, filled, sleeping_nodes)
}


def main(scenario: str, _subject: str, place: str, *options: str) -> None:
    size, folder = QUICK if "--quick" in options else FULL, Path(place)
    _bound(scenario)
    _open_to_servers(folder)
    print(json.dumps(SCENARIOS[scenario](folder, size)), flush=True)


def _bound(scenario: str) -> None:
    """End in good order, with every server and node, after the scenario's bound or at SIGTERM."""

    def too_long(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"{scenario} did not end within {BOUNDS[scenario]:.0f} s")

    def told(_number: int, _frame: FrameType | None) -> None:
        sys.exit("told to end")

    signal.signal(signal.SIGALRM, too_long)
    signal.signal(signal.SIGTERM, told)
    signal.setitimer(signal.ITIMER_REAL, BOUNDS[scenario])


def _open_to_servers(folder: Path) -> None:
    """Have the servers' data in the folder, on the disk that was chosen for it, also if they are not root's."""
    tempfile.tempdir = str(folder)
    if os.geteuid() == 0:
        for path in (folder, folder.parent):
            path.chmod(0o711)


if __name__ == "__main__":
    main(*sys.argv[1:])
