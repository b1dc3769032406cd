"""What the host of a shard makes of pages that are late, and of reads that fail. The actor is a recorder."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from perdure.actors import host as hosts
from perdure.actors.feed import Feed
from perdure.actors.host import Host, Room
from perdure.actors.message import Message
from perdure.clock import SystemClock
from perdure.errors import StoreUnavailable
from perdure.stores.contract import Due, Letter, Loaded, Mail, Wait
from perdure.stores.memory import MemoryStore
from perdure.testing.conformance import Scene, a_creation, a_head

MAIL = Mail("a", "m", b'{"type":"EventRaised","name":"paid"}', at=1)


class Recorder:
    """An actor that takes everything and does nothing."""

    id = "a"
    is_idle = True
    rests = False

    def __init__(self) -> None:
        self.told: list[Message] = []
        self.fired = asyncio.Event()

    def tell(self, message: Message) -> None:
        self.told.append(message)

    def rouse(self) -> None:
        pass

    def due(self, number: int) -> None:
        self.fired.set()

    def untaken(self) -> list[str]:
        return []

    def close(self) -> None:
        pass


class SlowStore(MemoryStore):
    """A store whose pages a test holds back, or fails."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()
        self.read = asyncio.Event()
        self.loaded: asyncio.Event | None = None
        self.failures = 0

    async def mail(self, *args: Any, **more: Any) -> list[Letter]:
        page = await super().mail(*args, **more)
        self.read.set()
        await self.may_answer.wait()
        return page

    async def load(self, *args: Any, **more: Any) -> list[Loaded]:
        found = await super().load(*args, **more)
        if self.loaded is not None:
            self.loaded.set()
            await self.may_answer.wait()
        return found

    async def due(self, *args: Any, **more: Any) -> list[Due]:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("no answer")
        return await super().due(*args, **more)


def hosted(test: Callable[[Host, Recorder, SlowStore, Scene], Awaitable[None]]) -> None:
    async def play() -> None:
        store, recorder = SlowStore(), Recorder()
        scene = await Scene.of(store)
        await scene.start("a", a_head("a"))
        feed = Feed(store, SystemClock())

        def restore(loaded: Loaded) -> Any:
            return recorder

        host = Host(store, scene.lease("a"), feed, restore, Room())
        host.add(recorder)
        try:
            async with asyncio.timeout(30):
                await test(host, recorder, store, scene)
        finally:
            await host.stop()
            await feed.stop()

    asyncio.run(play())


def test_mail_that_was_taken_while_its_page_was_read_is_not_handed_over_again() -> None:
    async def play(host: Host, recorder: Recorder, store: SlowStore, scene: Scene) -> None:
        await store.deliver(scene.shard("a"), [MAIL])
        host.receive(MAIL)
        host.start()
        await store.read.wait()
        await scene.committed(scene.turn("a", 1, consumed=["m"]))
        host.consumed("a", ["m"])
        store.may_answer.set()
        await asyncio.sleep(0.05)
        assert len(recorder.told) == 1

    hosted(play)


def test_mail_that_comes_when_its_instance_has_been_read_is_handed_over_in_its_order() -> None:
    async def play(host: Host, recorder: Recorder, store: SlowStore, scene: Scene) -> None:
        host.drop(recorder)  # type: ignore[arg-type]
        store.loaded = asyncio.Event()
        mails = [replace(MAIL, key=key) for key in ("m", "n", "o")]
        host.start(listen=False)
        for mail in mails[:2]:
            await store.deliver(scene.shard("a"), [mail])
            host.receive(mail)
            await store.loaded.wait()
        store.may_answer.set()
        await until(lambda: host.get("a") is not None)
        await store.deliver(scene.shard("a"), [mails[2]])
        host.receive(mails[2])
        assert [message.key for message in recorder.told] == ["m", "n", "o"]

    hosted(play)


def test_a_generation_that_is_loaded_hears_what_it_was_given_before_what_came_while_the_one_before_ended() -> None:
    async def play(host: Host, recorder: Recorder, store: SlowStore, scene: Scene) -> None:
        host.drop(recorder)  # type: ignore[arg-type]
        start = Mail("a", "a/e1.0/1.1", b'{"type":"RunStarted","name":"main","generation":1}', 1, "e1", 1)
        await store.deliver(scene.shard("a"), [MAIL, start, replace(MAIL, key="a/e1.0/1.2")])
        host.start(listen=False)
        store.may_answer.set()
        host.receive(MAIL)
        await until(lambda: host.get("a") is not None)
        assert [message.key for message in recorder.told] == ["a/e1.0/1.1", "a/e1.0/1.2", "m"]

    hosted(play)


def created(test: Callable[[Host, list[Loaded], SlowStore, Scene], Awaitable[None]]) -> None:
    """With an instance `new` that another node has created; the host tells what it restores."""

    async def play() -> None:
        store, restored = SlowStore(), list[Loaded]()
        scene = await Scene.of(store)
        await store.create(scene.shard("new"), a_creation("new"))
        feed = Feed(store, SystemClock())

        def restore(loaded: Loaded) -> Any:
            restored.append(loaded)
            recorder = Recorder()
            recorder.id = loaded.head.id
            return recorder

        host = Host(store, scene.lease("new"), feed, restore, Room())
        try:
            async with asyncio.timeout(30):
                await test(host, restored, store, scene)
        finally:
            await host.stop()
            await feed.stop()

    asyncio.run(play())


def told(host: Host, id: str = "new") -> list[Message]:
    actor: Any = host.get(id)
    return [] if actor is None else actor.told


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_a_new_instance_is_activated_with_its_mail_and_not_read() -> None:
    async def play(host: Host, restored: list[Loaded], store: SlowStore, scene: Scene) -> None:
        await store.deliver(scene.shard("new"), [replace(MAIL, instance="new")])
        store.may_answer.set()
        host.start()
        await until(lambda: len(told(host)) == 2)
        assert restored == [Loaded(a_creation("new").head, [], [], [], [])]
        assert host.loads == 0
        assert [message.key for message in told(host)] == ["start e1", "m"]

    created(play)


def test_a_new_instance_is_told_without_a_read_while_others_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "LOADS_PER_ROUND", 2)

    async def play(host: Host, restored: list[Loaded], store: SlowStore, scene: Scene) -> None:
        store.loaded = asyncio.Event()
        heads = {id: a_creation(id).head for id in ("x", "y", "z")}
        host.start(listen=False)
        host.receive(a_creation("new").mail)
        for id, head in heads.items():
            host.receive(a_creation(id).mail, new=head)
        await store.loaded.wait()
        assert restored == [Loaded(heads["x"], [], [], [], [])]
        store.may_answer.set()
        await until(lambda: len(restored) == 4)
        assert [(loaded.head.id, len(loaded.mail)) for loaded in restored[1:]] == [("new", 1), ("y", 0), ("z", 0)]
        assert host.loads == 1
        assert [[message.key for message in told(host, id)] for id in ("new", "x", "y", "z")] == [["start e1"]] * 4

    created(play)


def test_an_instance_that_is_to_be_read_already_is_read_though_it_is_new() -> None:
    async def play(host: Host, restored: list[Loaded], store: SlowStore, scene: Scene) -> None:
        store.may_answer.set()
        await store.deliver(scene.shard("new"), [replace(MAIL, instance="new")])
        host.receive(replace(MAIL, instance="new"))
        host.receive(a_creation("new").mail, new=a_creation("new").head)
        host.start(listen=False)
        await until(lambda: len(told(host)) == 2)
        assert [message.key for message in told(host)] == ["start e1", "m"]
        assert host.loads == 1

    created(play)


def test_a_new_instance_that_was_taken_up_while_its_page_was_read_is_left_alone() -> None:
    async def play(host: Host, restored: list[Loaded], store: SlowStore, scene: Scene) -> None:
        await store.deliver(scene.shard("new"), [replace(MAIL, instance="new")])
        host.start()
        await store.read.wait()
        await scene.committed(scene.turn("new", 0, consumed=["start e1"]))
        host.consumed("new", ["start e1"])
        store.may_answer.set()
        await until(lambda: len(told(host)) == 1)
        assert [loaded.head.sequence for loaded in restored] == [1]
        assert host.loads == 1

    created(play)


def test_a_new_instance_that_is_detained_waits() -> None:
    async def play(host: Host, restored: list[Loaded], store: SlowStore, _scene: Scene) -> None:
        host.detain(["new"])
        store.may_answer.set()
        host.start()
        await store.read.wait()
        await asyncio.sleep(0.05)
        assert restored == []
        host.admit("new")
        host.poll_now()
        await until(lambda: len(told(host)) == 1)

    created(play)


def test_an_instance_that_is_detained_when_it_was_new_is_read_when_it_is_admitted() -> None:
    async def play(host: Host, restored: list[Loaded], store: SlowStore, scene: Scene) -> None:
        store.may_answer.set()
        host.receive(a_creation("new").mail, new=a_creation("new").head)
        host.detain(["new"])
        await scene.committed(scene.turn("new", 0, consumed=[]))
        host.start(listen=False)
        host.admit("new")
        await until(lambda: len(told(host)) == 1)
        assert [loaded.head.sequence for loaded in restored] == [1]
        assert host.loads == 1

    created(play)


def test_due_times_whose_read_failed_are_read_again_at_once() -> None:
    async def play(host: Host, recorder: Recorder, store: SlowStore, scene: Scene) -> None:
        await scene.committed(scene.turn("a", 1, opened=[Wait(1, "timer", "timer", 1, due=1)]))
        store.failures = 1
        store.may_answer.set()
        host.start()
        await recorder.fired.wait()

    hosted(play)
