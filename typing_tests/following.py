"""Following a run of an agent, for a checker. Read by mypy --strict and pyright, never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import assert_type

from perdure import App, Client
from perdure.agents import AgentRun, Told, follow
from perdure.transcript import Answered, AnyEntry, Delta, Ended, transcript

app = App("desk", store="memory:")


async def read(run: AgentRun[str], client: Client) -> None:
    assert_type(run.stream(), AsyncGenerator[Told, None])
    assert_type(follow(client, "run-1", after="3.0"), AsyncGenerator[Told, None])
    assert_type(follow(app.client, "run-1"), AsyncGenerator[Told, None])
    async for told in run.stream(after="1.2"):
        assert_type(told.offset, str)
        assert_type(told.entry, AnyEntry)
        match told.entry:
            case Delta(text=text):
                assert_type(text, str)
            case Answered(usage=usage):
                assert_type(usage.cost, Decimal | None)
            case Ended(status=status):
                assert_type(status, str)
            case _:
                pass
    assert_type(transcript([event async for event in run.handle.history()]), list[AnyEntry])
