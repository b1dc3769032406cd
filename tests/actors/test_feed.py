"""The feed of a node: hints that end, fail and come back, mail of several shards, late comers and their due times."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from perdure.actors import feed as module
from perdure.actors.feed import Feed
from perdure.clock import SECOND
from perdure.errors import StoreUnavailable
from perdure.scheduler.pace import Pace
from perdure.stores.contract import Due, Lease, Letter, Mail
from perdure.testing.conformance import a_mail

NEVER = Pace(mail_seconds=3_600.0)
"""So that nothing but hints brings a look."""


class Clock:
    def now(self) -> int:
        return 1_000 * SECOND

    def token(self) -> str:
        return "t"


class Listener:
    """Notes what it is handed."""

    def __init__(self, shard: int) -> None:
        self.lease = Lease(shard, "shop", shard, "me", 1)
        self.mail: list[Mail] = []
        self.fired: list[tuple[str, int]] = []

    def begin_page(self) -> None:
        """Nothing is taken meanwhile."""

    def end_page(self, page: list[Letter]) -> None:
        self.mail += [letter.mail for letter in page]

    def fire(self, id: str, number: int) -> None:
        self.fired.append((id, number))


class Source:
    """What a feed reads: mail and due waits by shard, and hints that a test makes; each look is noted."""

    def __init__(self) -> None:
        self.mails: dict[int, list[Mail]] = {}
        self.dues: list[Due] = []
        self.looks: list[list[int]] = []
        self.hints: asyncio.Queue[Exception | None] = asyncio.Queue()
        self.watches = 0

    async def mail(self, leases: Sequence[Lease], limit: int = 1000, after: tuple[int, str] = (0, "")) -> list[Letter]:
        shards = [lease.shard for lease in leases]
        if after == (0, ""):
            self.looks.append(shards)
        found = [Letter(shard, mail) for shard in shards for mail in self.mails.get(shard, [])]
        return sorted(
            (one for one in found if (one[0], one[1].instance) > after), key=lambda one: (one[0], one[1].instance)
        )[:limit]

    async def due(
        self, leases: Sequence[Lease], until: int, limit: int = 1000, after: tuple[int, int, str, int] = (-1, 0, "", 0)
    ) -> list[Due]:
        shards = {lease.shard for lease in leases}
        found = [due for due in self.dues if due.shard in shards and due.due <= until]
        return [due for due in found if (due.due, due.shard, due.instance, due.number) > after][:limit]

    async def watch(self) -> AsyncIterator[None]:
        self.watches += 1
        while True:
            hint = await self.hints.get()
            if hint is not None:
                raise hint
            yield


def told(story: Callable[[Source, Feed], Awaitable[None]]) -> None:
    async def play() -> None:
        source = Source()
        feed = Feed(source, Clock(), NEVER)  # type: ignore[arg-type]
        try:
            async with asyncio.timeout(30):
                await story(source, feed)
        finally:
            await feed.stop()

    asyncio.run(play())


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("error", [StoreUnavailable("away"), RuntimeError("a defect")])
def test_hints_come_back_after_the_watch_has_failed(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async def story(source: Source, feed: Feed) -> None:
        heard: list[int] = []
        feed.listen(lambda: heard.append(1))
        source.hints.put_nowait(error)
        source.hints.put_nowait(error)
        await until(lambda: source.watches == 3)
        source.hints.put_nowait(None)
        await until(lambda: bool(heard))

    told(story)
    assert [record.message.split(":")[0] for record in caplog.records] == ["hints", "hints"]
    assert "next try in 0.3 s" in caplog.text, "the pause grows"


def test_a_watch_that_ends_is_not_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(source: Source, feed: Feed) -> None:
        async def none() -> AsyncIterator[None]:
            source.watches += 1
            return
            yield

        monkeypatch.setattr(source, "watch", none)
        listener = Listener(1)
        feed.join(listener)
        await until(lambda: bool(source.looks))
        feed.poll_now()
        await until(lambda: len(source.looks) > 1)
        assert source.watches == 1

    told(story)


def test_a_hint_brings_the_mail_of_all_shards_in_one_look() -> None:
    async def story(source: Source, feed: Feed) -> None:
        first, second = Listener(1), Listener(2)
        feed.join(first)
        feed.join(second)
        await until(lambda: [1, 2] in source.looks)
        source.mails = {1: [a_mail("a", "k")], 2: [a_mail("b", "l")]}
        looks = len(source.looks)
        source.hints.put_nowait(None)
        await until(lambda: bool(first.mail and second.mail))
        assert len(source.looks) == looks + 1
        assert ([mail.key for mail in first.mail], [mail.key for mail in second.mail]) == (["k"], ["l"])

    told(story)


def test_mail_is_read_page_by_page_until_one_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAIL_PAGE", 2)

    async def story(source: Source, feed: Feed) -> None:
        source.mails = {1: [a_mail(f"i{number}", "k") for number in range(5)]}
        listener = Listener(1)
        feed.join(listener)
        await until(lambda: len(listener.mail) == 5)

    told(story)


def test_who_comes_late_hears_of_what_is_due_and_who_left_of_nothing() -> None:
    async def story(source: Source, feed: Feed) -> None:
        source.dues = [Due(shard, f"of {shard}", 7, 999 * SECOND, "timer") for shard in (1, 2)]
        early = Listener(1)
        feed.join(early)
        await until(lambda: early.fired == [("of 1", 7)])
        late = Listener(2)
        feed.join(late)
        await until(lambda: late.fired == [("of 2", 7)])
        feed.leave(late)
        feed.schedule(999 * SECOND, 2, "of 2", 8)
        feed.schedule(999 * SECOND, 1, "of 1", 8)
        await until(lambda: ("of 1", 8) in early.fired)
        assert late.fired == [("of 2", 7)]

    told(story)


def test_who_leaves_while_mail_is_read_is_handed_none_of_it() -> None:
    async def story(source: Source, feed: Feed) -> None:
        goes, stays = Listener(1), Listener(2)
        source.mails = {1: [a_mail("a", "k")], 2: [a_mail("b", "k")]}
        read = source.mail

        async def slowly(*asked: Any) -> list[Letter]:
            found = await read(*asked)
            feed.leave(goes)
            return found

        source.mail = slowly  # type: ignore[method-assign]
        feed.join(goes)
        feed.join(stays)
        while not stays.mail:
            await asyncio.sleep(0)
        assert goes.mail == []

    told(story)
