"""Fuzzes the gRPC port: damaged messages of every call to a real server, while the worker of another app goes on.

    python -m tests.fuzz.grpc_api                   the kept seeds, which are those of CI
    python -m tests.fuzz.grpc_api --fresh 100       and as many that nobody has tried: `make soak` does
    python -m tests.fuzz.grpc_api --seed 7 --messages 5000

A seed that fails is printed; add it to seeds/grpc_api.txt, so that it is run ever after. Exit code 0: nothing is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from perdure.app import open_store
from perdure.history.actions import CompleteRun, ScheduleActivity
from perdure.remote.attributes import Attributes
from perdure.remote.hosted import Hosted
from perdure.remote.requests import ActivityItem, TurnItem, TurnResult
from perdure.remote.rpc.table import Runtime, Table, table_of
from perdure.remote.rpc.workers import Bounds
from perdure.remote.wire.codec import MICROSOFT
from perdure.remote.wire.framing import FIXED64, LENGTH, VARINT, framed, tag, varint
from tests.remote.peer import Peer, json, text
from tests.remote.wire.goldens import GOLDEN
from tests.remote.wire.readers import SAMPLES

SEEDS = Path(__file__).parent / "seeds" / "grpc_api.txt"
ROOT = Path(__file__).parents[2]
SERVER = "tests.fuzz.grpc_server"
MESSAGES = 3_000
AT_ONCE = 8
CALL_SECONDS = 5.0
WAIT_SECONDS = 0.05
"""For calls that wait for what may never come."""
HEALTHY_SECONDS = 20.0
"""How long a workflow of the app that is left alone may take, on a loaded machine."""
MEMORY_MB = 900
"""Bound of what the server ever held: messages of 16 MB, parsed, a few at once."""
LARGE = 64 * 1024 * 1024
LEFT_ALONE, ATTACKED = "shop", "target"
SERVICES = ("/TaskHubSidecarService/", "/TaskHubSidecarService/", "/TaskHubSidecarService/", "/dapr.", "/perdure.")
"""How often each is called: Perdure's own has as many calls as the others together, and is the least public."""
SHUTDOWN = "Shutdown"
"""The one call that does harm by doing what it says."""

CLEAN = frozenset(
    {
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,  # the caller's own
        grpc.StatusCode.CANCELLED,  # likewise
    }
)
INSIDES = ("Traceback", 'File "', ".py", "site-packages", " object at 0x")
"""What no caller is told."""


class Unclean(AssertionError):
    """What the fuzzer looks for."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.grpc_api", description="Fuzzes the gRPC port.")
    parser.add_argument("--seed", type=int, action="append", help="this one alone (may be given again)")
    parser.add_argument("--fresh", type=int, default=0, help="how many new ones after the kept ones")
    parser.add_argument("--messages", type=int, default=MESSAGES)
    given = parser.parse_args(arguments)
    for seed in given.seed or [*kept_seeds(), *(secrets.randbelow(2**32) for _ in range(given.fresh))]:
        print(f"seed {seed}", flush=True)
        try:
            print(fuzz(seed, given.messages), flush=True)
        except AssertionError as found:
            print(f"{found}\nseed {seed} found something; add it to {SEEDS.name} once it is mended")
            return 1
    return 0


def kept_seeds() -> list[int]:
    """Those that have found something, and one to begin with."""
    lines = SEEDS.read_text(encoding="utf-8").splitlines()
    return [int(line.partition("#")[0]) for line in lines if line.partition("#")[0].strip()]


def fuzz(seed: int, messages: int, program: str = SERVER) -> str:
    """Run one seed against a server of its own; how often which status was the answer. Raises AssertionError.

    `program` is the module that serves.
    """
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_fuzz(Path(folder), random.Random(seed), messages, program))


async def _fuzz(folder: Path, dice: random.Random, messages: int, program: str) -> str:
    async with serving(folder, program) as (process, ports):
        async with (
            Peer(ports[0], MICROSOFT) as worker,
            Peer(ports[0], MICROSOFT) as client,
            attack(ports[1]) as attacker,
        ):
            working = asyncio.ensure_future(_work(worker))
            living = Living(client)
            going_on = asyncio.ensure_future(living.go_on())
            told = asyncio.ensure_future(attacker.run(dice, messages))
            await asyncio.wait({working, going_on, told}, return_when=asyncio.FIRST_COMPLETED)
            for early in (working, going_on):
                if early.done():
                    early.result()  # because it says why it goes on no more
            statuses = await told
            living.enough = True
            await going_on
            await living.check()
            working.cancel()
        peak = _peak_mb(process.pid)
        assert peak < MEMORY_MB, f"the server has held {peak:.0f} MB"
        process.terminate()
        assert await asyncio.wait_for(process.wait(), HEALTHY_SECONDS) == 0, "the server has not ended well"
    log = (folder / "server.log").read_text(encoding="utf-8", errors="replace")
    assert "Traceback" not in log, f"the server met what nobody foresaw:\n{log[-3000:]}"
    answers = ", ".join(f"{status.name} {count}" for status, count in statuses.most_common())
    return f"{answers}; {len(living.ended)} workflows beside, {peak:.0f} MB"


# -- the server --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(folder: Path, program: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[int]]]:
    """A server in a process of its own, with a port for each of the two apps."""
    command = [sys.executable, "-m", program, str(folder / "fuzz.db"), LEFT_ALONE, ATTACKED]
    with (folder / "server.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=log, cwd=ROOT)
    try:
        assert process.stdout is not None
        yield process, [int(port) for port in (await process.stdout.readline()).split()]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024 / 1e6


# -- those who are left alone ------------------------------------------------------------------------------------------


async def _work(peer: Peer) -> None:
    """A worker whose workflow charges once, and ends with what that gave."""
    work = peer.work(turns_max=10, activities_max=10)
    charge = ScheduleActivity(number=1, name="charge", input=json("7"))
    while True:
        item = await work.next(seconds=10 * HEALTHY_SECONDS)
        if isinstance(item, ActivityItem):
            await peer.finish(item, "42")
        else:
            done = CompleteRun(number=-1, status="completed", output=json('"done"'))
            await peer.answer(item, done if item.past else charge)


class Living:
    """A client that starts one workflow after the other, each of which ends as it should, and in time."""

    def __init__(self, peer: Peer) -> None:
        self.enough = False
        self.ended: list[str] = []
        self._peer = peer

    async def go_on(self) -> None:
        while not self.enough:
            id = await self._peer.start("checkout", f"order-{len(self.ended)}", "41")
            async with asyncio.timeout(HEALTHY_SECONDS):
                view = await self._peer.ended(id)
            assert (view.status, text(view.output)) == ("completed", '"done"'), f"{id} is {view}"
            self.ended.append(id)

    async def check(self) -> None:
        """Nothing is lost."""
        assert self.ended, "no workflow has ended beside the attack"
        for id in self.ended:
            view = await self._peer.view(id)
            assert view is not None, f"{id} is gone"
            assert view.status == "completed", f"{id} is {view}"


# -- the attack --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def attack(port: int) -> AsyncIterator[Attacker]:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel,
        Peer(port, MICROSOFT) as peer,
    ):
        yield Attacker(channel, peer, _table())


def _table() -> Table:
    """Every call that there is; nobody makes them here."""
    return table_of(Hosted(open_store("memory:")), Runtime("0", lambda app: Attributes(), lambda: None), Bounds(1, 1))


class Attacker:
    """Whoever sends what it likes to the port of one app: as a client, and as a worker that has work."""

    def __init__(self, channel: grpc.aio.Channel, peer: Peer, table: Table) -> None:
        self._channel = channel
        self._peer = peer
        self._unary = sorted(name for name in table.unary if not name.endswith(SHUTDOWN))
        self._conversing = frozenset(table.conversing)
        self._streaming = sorted((*table.streaming, *table.conversing))
        self._statuses: Counter[grpc.StatusCode] = Counter()

    async def run(self, dice: random.Random, messages: int) -> Counter[grpc.StatusCode]:
        plan = self._plan(dice, messages)

        async def take_turns() -> None:
            for name, data in plan:
                await self._send(name, data)

        work = self._peer.work(turns_max=50, activities_max=50)
        answering = asyncio.ensure_future(self._answer_badly(work, random.Random(dice.random())))
        try:
            await asyncio.gather(*(take_turns() for _ in range(AT_ONCE)))
            for name in (*self._streaming, "/TaskHubSidecarService/StartInstance", self._unary[0]):
                await self._send(name, b"\x0a" + framed(b"x" * LARGE), HEALTHY_SECONDS)
            if answering.done():
                answering.result()  # because it says what was unclean
        finally:
            answering.cancel()
        return self._statuses

    def _plan(self, dice: random.Random, messages: int) -> Iterator[tuple[str, bytes]]:
        for number in range(messages):
            service = dice.choice(SERVICES)
            of_service = [name for name in self._unary if name.startswith(service)]
            name = dice.choice(self._streaming if number % 50 == 0 else of_service)
            yield name, damaged(dice, message_for(dice, name))

    async def _send(self, name: str, data: bytes, seconds: float | None = None) -> None:
        is_streaming = name in self._streaming
        if seconds is None:
            seconds = WAIT_SECONDS if is_streaming or "Wait" in name or "outcome" in name else CALL_SECONDS
        try:
            if name in self._conversing:
                async for _ in self._channel.stream_stream(name)(iter((data,)), timeout=seconds):
                    pass
            elif is_streaming:
                async for _ in self._channel.unary_stream(name)(data, timeout=seconds):
                    pass
            else:
                await self._channel.unary_unary(name)(data, timeout=seconds)
            self._statuses[grpc.StatusCode.OK] += 1
        except grpc.aio.AioRpcError as error:
            self._judge(name, data, error)

    def _judge(self, name: str, data: bytes, error: grpc.aio.AioRpcError) -> None:
        self._statuses[error.code()] += 1
        what = f"{name} answers {error.code()} {error.details()!r} to {data[:200].hex()} ({len(data):,} bytes)"
        if error.code() not in CLEAN:
            raise Unclean(what)
        if any(inside in (error.details() or "") for inside in INSIDES):
            raise Unclean(f"{what}: that tells of its insides")

    async def _answer_badly(self, work: Any, dice: random.Random) -> None:
        """Take work under its real token, and answer with what is damaged."""
        peer = self._peer.codec.peer
        while True:
            item = await work.next(seconds=10 * HEALTHY_SECONDS)
            if isinstance(item, TurnItem):
                charge = ScheduleActivity(number=1, name="charge", input=json("7"))
                actions = [dice.choice((charge, CompleteRun(number=-1, status="completed")))]
                good = peer.write_turn_result(TurnResult(instance=item.instance, token=item.token, actions=actions))
                await self._send("/TaskHubSidecarService/CompleteOrchestratorTask", damaged(dice, good))
            elif isinstance(item, ActivityItem):
                good = tag(1) + framed(item.instance.encode()) + tag(5) + framed(item.token.encode())
                await self._send("/TaskHubSidecarService/CompleteActivityTask", damaged(dice, good))


# -- messages ----------------------------------------------------------------------------------------------------------

OF_CALLS = {
    "StartInstance": "CreateInstanceRequest",
    "WaitForInstanceStart": "GetInstanceRequest",
    "WaitForInstanceCompletion": "GetInstanceRequest",
    "RaiseEvent": "RaiseEventRequest",
    "CompleteOrchestratorTask": "OrchestratorResponse",
    "CompleteWorkflowTask": "WorkflowResponse",
    "CompleteActivityTask": "ActivityResponse",
    "CompleteEntityTask": "EntityBatchResult",
    "AbandonTaskActivityWorkItem": "AbandonActivityTaskRequest",
    "GetWorkItems": "GetWorkItemsRequest",
}
"""The message of a call, where it is not the name of the call or `...Instance`, and `Request`."""
LOOKED_AT_BYTES_MAX = 10_000
KNOWN_IDS = (b"order-0", b"order-1", b"target-1", b"@counter@1", b"")
"""Of the app that is left alone, and of the one that is not."""
NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**32, 2**63 - 1, -(2**63), 10**6, 99)
MOMENTS = tuple(
    tag(1, VARINT) + varint(seconds) + tag(2, VARINT) + varint(nanos)
    for seconds in (-62_135_596_800, -62_167_219_200, 253_402_300_799, 253_402_300_800, 2**63 - 1, -(2**63), 0)
    for nanos in (0, 999_999_999, -1, 2**31 - 1)
)
"""Years 0, 1, 9999 and 10000, and what is no time."""


def message_for(dice: random.Random, call: str) -> bytes:
    """A message that the call takes, if there is one by its name, or any other."""
    name = call.rpartition("/")[2]
    if call.startswith("/perdure."):
        return dice.choice(
            (b"{}", b"[]", b'{"id":"target-1"}', b'["target-1",null]', b"null", b'{"token":"a.1.1.1.b.c"}')
        )
    wanted = {OF_CALLS.get(name, f"{name}Request"), name.replace("Instance", "") + "Request"}
    fitting = [
        case for kinds in GOLDEN.values() for kind, cases in kinds.items() if kind in wanted for case in cases.values()
    ]
    if fitting and dice.random() < 0.85:
        return bytes.fromhex(dice.choice(fitting))
    return dice.choice(SAMPLES)


def damaged(dice: random.Random, data: bytes) -> bytes:
    """The message with something wrong with it, or some things."""
    for _ in range(dice.choice((0, 1, 1, 1, 2))):
        data = dice.choices((_field_changed, _bytes_changed, _cut, _nested), (7, 1, 1, 1))[0](dice, data)
    return data


def _bytes_changed(dice: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        if changed:
            changed[dice.randrange(len(changed))] = dice.randrange(256)
    return bytes(changed)


def _cut(dice: random.Random, data: bytes) -> bytes:
    return data[: dice.randint(0, len(data))] + (data if dice.random() < 0.2 else b"")


def _nested(dice: random.Random, data: bytes) -> bytes:
    field = dice.randint(1, 30)
    inner = b""
    for _ in range(dice.choice((20, 99, 200, 3_000))):
        inner = tag(dice.choice((field, 4, 2))) + framed(inner)
    return data + (inner if dice.random() < 0.8 else b"[" * 5_000)


def _field_changed(dice: random.Random, data: bytes) -> bytes:
    """One field at the top, or deeper, with another value."""
    fields = list(_fields(data))
    if not fields:
        return _bytes_changed(dice, data)
    place = dice.randrange(len(fields))
    number, kind, value = fields[place]
    if kind == VARINT:
        value = varint(dice.choice(NUMBERS))
    elif kind == LENGTH:
        value = framed(_value_changed(dice, _unframed(value)))
    fields[place] = (number, kind, value)
    if dice.random() < 0.1:
        fields.append((number, VARINT if kind == LENGTH else LENGTH, b"\x00"))  # another kind of value for the field
    return b"".join(tag(number, kind) + value for number, kind, value in fields)


def _value_changed(dice: random.Random, value: bytes) -> bytes:
    if list(_fields(value)) and dice.random() < 0.6:
        return _field_changed(dice, value)
    chosen = dice.randrange(7)
    if chosen == 0:
        return b"\xff\xfe" + value
    if chosen == 1:
        return dice.choice(MOMENTS)
    if chosen == 2:
        return dice.choice(KNOWN_IDS)
    if chosen == 3:
        return b"x" * dice.choice((1_000, 100_000, 1_000_000))
    if chosen == 4:
        return b"\x00" + value
    if chosen == 5:
        return "\u202e\U0001f600\ud7ff".encode() * dice.randint(1, 300)
    return b""


def _fields(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The fields of a message with their values as they are; none if it is no message, or too long to look at."""
    if len(data) > LOOKED_AT_BYTES_MAX:
        return
    found: list[tuple[int, int, bytes]] = []
    place = 0
    while place < len(data):
        head, place = _varint_at(data, place)
        number, kind = head >> 3, head & 7
        start = place
        if kind == VARINT:
            _, place = _varint_at(data, place)
        elif kind == LENGTH:
            size, after = _varint_at(data, place)
            place = after + size
        elif kind == FIXED64:
            place += 8
        else:
            return
        if place > len(data) or not number:
            return
        found.append((number, kind, data[start:place]))
    yield from found


def _varint_at(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data) and shift < 70:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        shift, place = shift + 7, place + 1
        if byte <= 0x7F:
            return value, place
    return 0, len(data) + 1


def _unframed(value: bytes) -> bytes:
    size, after = _varint_at(value, 0)
    return value[after : after + size]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
