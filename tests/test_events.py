"""The public types of events: all that a history can hold, under one name."""

from __future__ import annotations

from typing import get_args

import perdure
from perdure import App
from perdure.history import events as recorded
from perdure.history.options import Trace


def test_every_event_and_every_part_of_one_can_be_imported():
    parts = {*recorded.Record.__subclasses__(), Trace}
    records = set(get_args(recorded.AnyEvent)) | parts | {recorded.Event}
    assert {getattr(perdure.events, record.__name__) for record in records} == records
    assert set(perdure.events.__all__) == {record.__name__ for record in records} | {"AnyEvent"}


def test_what_a_handle_gives_is_told_apart_by_type(run, url):
    app = App("typed", store=url)

    @app.activity
    async def add(x: int) -> int:
        return x + 1

    @app.workflow
    async def main() -> int:
        return await add(1)

    async def scenario():
        async with app:
            handle = await main.start()
            await handle.result(30)
            return [event async for event in handle.history()]

    found = run(scenario)
    assert all(isinstance(event, perdure.events.Event) for event in found)
    assert [event.number for event in found if isinstance(event, perdure.events.ActivityCompleted)] == [1]
