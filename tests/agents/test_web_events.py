"""Server-sent events: while none comes there are signs of life, and none is lost or held up by them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from perdure.agents.web.events import SIGN, event, with_signs


def test_signs_come_while_an_event_is_late_and_the_event_comes_all_the_same() -> None:
    async def play() -> list[bytes]:
        told = asyncio.Event()

        async def events() -> AsyncGenerator[bytes, None]:
            yield event("first")
            await told.wait()
            yield event("late")

        seen = []
        async for piece in with_signs(events(), seconds=0.001):
            seen.append(piece)
            if seen.count(SIGN) == 3:
                told.set()
        return seen

    seen = asyncio.run(asyncio.wait_for(play(), 30))
    assert [piece for piece in seen if piece != SIGN] == [event("first"), event("late")]
    assert seen.count(SIGN) >= 3


def test_events_that_come_at_once_have_no_sign_between_them() -> None:
    async def play() -> list[bytes]:
        async def events() -> AsyncGenerator[bytes, None]:
            for number in range(100):
                yield event(str(number), id=str(number), name="entry")

        return [piece async for piece in with_signs(events())]

    seen = asyncio.run(play())
    assert len(seen) == 100
    assert seen[7] == b"id: 7\nevent: entry\ndata: 7\n\n"


def test_who_reads_on_no_more_closes_what_makes_the_events() -> None:
    async def play() -> bool:
        is_closed = False

        async def events() -> AsyncGenerator[bytes, None]:
            nonlocal is_closed
            try:
                yield event("first")
                await asyncio.Event().wait()
            finally:
                is_closed = True

        reading = with_signs(events(), seconds=0.001)
        assert await anext(reading) == event("first")
        assert await anext(reading) == SIGN
        await reading.aclose()  # type: ignore[attr-defined]
        return is_closed

    assert asyncio.run(asyncio.wait_for(play(), 30))
