"""Programs of Dapr that an event kills: it is a dead letter after a bounded number of deaths, and no other is."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from perdure.app import open_store
from perdure.blocks.pubsub import Message, ReceiverDied, Verdict
from perdure.history.suspicion import ALONE_DEATHS, BESIDE_DEATHS
from perdure.remote.app_channel import AppAbsent, AppUnreachable
from perdure.remote.pubsub.declared import Declared
from perdure.remote.pubsub.port import Event, ProgramPort
from perdure.remote.pubsub.publishing import Publish
from perdure.remote.pubsub.streamed import Stream
from perdure.remote.server import Server
from perdure.remote.settings import Listener, ServerSettings
from servers.ports import free_port
from tests.remote.native.processes import Process
from tests.remote.pubsub.program import components

PROGRAM = Path(__file__).with_name("poison_program.py")
HEALTHY = [f"healthy-{number}" for number in range(10)]
MESSAGE = Message(id="1", topic="orders", data=b"", source="test")
DECLARED = Declared(pubsub="bus", topic="orders", origin="PROGRAMMATIC", rules=(("", "/orders"),))


class Breaking:
    """A program that answers what the test says, and raises what it says."""

    def __init__(self, *answers: Exception | Verdict) -> None:
        self.answers = list(answers)

    async def deliver(self, path: str, event: Event, declared: Declared) -> Verdict:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_an_event_waits_for_a_program_that_is_away_and_not_for_one_that_went_with_it(run: Callable[..., None]) -> None:
    async def scenario() -> None:
        port = ProgramPort(Breaking(AppAbsent("away"), Verdict.SUCCESS, AppUnreachable("gone")))  # type: ignore[arg-type]
        event = Event(message=MESSAGE, json=b"{}")
        port.listens()
        asked = asyncio.ensure_future(port.deliver("/orders", event, DECLARED))
        await port.gone.wait()
        assert not asked.done()
        port.listens()
        assert await asked is Verdict.SUCCESS
        with pytest.raises(ReceiverDied, match="gave no answer: gone"):
            await port.deliver("/orders", event, DECLARED)
        assert port.gone.is_set()

    run(scenario)


def test_what_a_stream_had_when_it_ended_may_have_ended_it(run: Callable[..., None]) -> None:
    async def scenario() -> None:
        stream = Stream()
        asked: Awaitable[Verdict] = asyncio.ensure_future(stream.handle(MESSAGE))
        await asyncio.sleep(0)
        stream.end()
        with pytest.raises(ReceiverDied):
            await asked
        assert await stream.handle(MESSAGE) is Verdict.RETRY

    run(scenario)


@pytest.mark.long
@pytest.mark.timeout(120)
def test_an_event_that_kills_a_program_is_a_dead_letter_and_no_other_is(tmp_path: Path) -> None:
    port, ledger = free_port(), tmp_path / "ledger"
    programs: list[Process] = []

    async def publish(server: Server, data: str) -> None:
        body = json.dumps(data).encode()
        asked = Publish(pubsub="bus", topic="orders", data=body, content_type="application/json")
        await server.hosted.pubsub.publish("shop", asked)

    async def scenario() -> None:
        resources = components(("bus", "pubsub.perdure", {}))
        listener = Listener(
            app_id="shop", grpc_port=0, http_port=0, resources=resources, app_url=f"http://127.0.0.1:{port}"
        )
        settings = ServerSettings(listeners=(listener,), store="memory:", drain_seconds=0.0, ui=False, quarantines=True)
        server = Server(open_store("memory:"), settings)
        await server.open()
        try:
            for data in [*HEALTHY, "killer"]:
                await publish(server, data)
            async with asyncio.timeout(100):
                while sum(line.startswith("letter") for line in lines()) < 1:
                    if not programs or not programs[-1].is_alive:
                        log = tmp_path / f"program-{len(programs)}.log"
                        programs.append(Process(log, sys.executable, str(PROGRAM), str(port), str(ledger)))
                    await asyncio.sleep(0.02)
        finally:
            await server.close()

    def lines() -> list[str]:
        return ledger.read_text().splitlines() if ledger.exists() else []

    try:
        asyncio.run(scenario())
    finally:
        for each in programs:
            each.kill()
    assert lines().count("died killer") == BESIDE_DEATHS + ALONE_DEATHS
    assert {line for line in lines() if line.startswith("handled")} == {f"handled {data}" for data in HEALTHY}
    (letter,) = (line for line in lines() if line.startswith("letter"))
    assert letter.startswith("letter quarantined: its process died 4 times running")
