"""Topics: who gets which message, in which order, how often, and what happens with the turn that comes past it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from perdure import App, Client, CloudEvent, Codec, KeyRing, Retry, Verdict, publish, wait_for_event
from perdure.engine import topic as topics_in_memory
from perdure.engine.operations import Operations
from perdure.errors import AlreadyRegistered, InvalidArgument, OnlyInWorkflow, PayloadTooLarge
from perdure.history import topic_line, topic_log
from perdure.history.events import MessagePublished
from perdure.history.handling import Handled
from perdure.history.subscribing import DEFAULTS
from perdure.history.topics import DEAD_TIMES_MAX, partition_ids
from perdure.sdk import publishing

QUICK = Retry(max_attempts=3, initial_interval=0.01, max_interval=0.02)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for it; the test's own bound ends it."""
    while not holds():
        await asyncio.sleep(0.005)


async def left(client: Client, topic: str, group: str) -> int:
    found = [g for t in await client.topics() if t.name == topic for g in t.groups if g.name == group]
    return found[0].left


async def drained(client: Client, topic: str, group: str) -> None:
    while await left(client, topic, group):
        await asyncio.sleep(0.005)


def test_a_handler_gets_typed_data_and_the_event(run, url):
    app = App("shop", store=url)
    got: list[object] = []

    @dataclass
    class Order:
        id: str
        total: int

    async def bill(order: Order, event: CloudEvent) -> None:
        got.append((order, event.id, event.key, event.source, event.type, event.extensions))

    bill.__annotations__["order"] = Order  # because the class is local
    app.subscribe("orders")(bill)

    @app.subscribe("orders", group="audit")
    def note(event: CloudEvent) -> None:
        got.append(event.data)

    async def scenario():
        async with app:
            id = await app.client.publish(
                "orders", Order("a", 3), key="a", type="order.placed", extensions={"by": "me"}
            )
            await until(lambda: len(got) == 2)
            await drained(app.client, "orders", "bill")
            return id

    id = run(scenario)
    assert sorted(got, key=str)[0] == (Order("a", 3), id, "a", "client", "order.placed", {"by": "me"})
    assert {"id": "a", "total": 3} in got


def test_messages_of_a_key_stay_in_order_while_others_pass(run, url):
    app = App("shop", store=url)
    got: list[tuple[str, int]] = []
    gate = asyncio.Event()

    @app.subscribe("orders", in_hand_max=10)
    async def handle(data: list, event: CloudEvent) -> None:
        if event.key == "slow":
            await gate.wait()
        got.append((event.key, data[0]))

    async def scenario():
        async with app:
            for number in range(5):
                await app.client.publish("orders", [number], key="slow")
                await app.client.publish("orders", [number], key="quick")
            await until(lambda: len(got) == 5)
            assert got == [("quick", number) for number in range(5)]
            gate.set()
            await drained(app.client, "orders", "handle")

    run(scenario)
    assert got[5:] == [("slow", number) for number in range(5)]


def test_a_message_that_fails_comes_again_and_holds_back_only_its_key(run, url):
    app = App("shop", store=url)
    got: list[tuple[str, int]] = []
    fails = {"bad": 2}

    @app.subscribe("orders", retry=Retry(max_attempts=5, initial_interval=0.2, max_interval=0.2))
    async def handle(number: int, event: CloudEvent) -> None:
        if fails.get(event.key, 0):
            fails[event.key] -= 1
            raise RuntimeError("not yet")
        got.append((event.key, number))

    async def scenario():
        async with app:
            for number in range(3):
                await app.client.publish("orders", number, key="bad")
                await app.client.publish("orders", number, key="good")
            await until(lambda: len(got) == 3)
            assert [key for key, _ in got] == ["good"] * 3
            await drained(app.client, "orders", "handle")

    run(scenario)
    assert got == [("good", n) for n in range(3)] + [("bad", n) for n in range(3)]


def test_dead_letters_tell_why(run, url):
    app = App("shop", store=url)
    dead: list[CloudEvent] = []

    @app.subscribe("orders", retry=QUICK, dead_letter="graveyard")
    async def handle(number: int) -> Verdict | None:
        if number == 1:
            return Verdict.DROP
        if number == 2:
            raise RuntimeError("never")
        return None

    @app.subscribe("graveyard")
    async def bury(event: CloudEvent) -> None:
        dead.append(event)

    async def scenario():
        async with app:
            for data in (0, 1, 2, "no number"):
                await app.client.publish("orders", data)
            await until(lambda: len(dead) == 3)
            await drained(app.client, "orders", "handle")
            (state,) = [t for t in await app.client.topics() if t.name == "orders"]
            return state.groups[0]

    state = run(scenario)
    reasons = {event.data: event.extensions["deadletterreason"] for event in dead}
    assert reasons[1] == "the receiver has dropped it"
    assert reasons[2] == "RuntimeError: never"
    assert "does not fit" in reasons["no number"]
    assert {event.extensions["deadlettertopic"] for event in dead} == {"orders"}
    assert (state.left, state.dead, state.dead_letter) == (0, 3, "graveyard")


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Loose(BaseException):
    """No Exception."""


@pytest.mark.parametrize(
    "error, reason",
    [
        (Speechless(), "Speechless: its __str__ raised RuntimeError"),
        (asyncio.CancelledError(), "CancelledError: "),
        (GeneratorExit(), "GeneratorExit: "),
        (StopIteration(), "RuntimeError: coroutine raised StopIteration"),
        (Loose("x"), "Loose: x"),
        (RuntimeError("half a pair: \ud800"), "RuntimeError: half a pair: \\ud800"),
    ],
)
def test_whatever_a_handler_raises_its_message_comes_again_and_then_is_a_dead_letter(run, url, error, reason):
    app = App("shop", store=url)
    dead: list[CloudEvent] = []
    attempts: list[int] = []

    @app.subscribe("orders", retry=QUICK, dead_letter="graveyard")
    async def handle(number: int) -> None:
        attempts.append(number)
        if number == 1:
            raise error

    @app.subscribe("graveyard")
    async def bury(event: CloudEvent) -> None:
        dead.append(event)

    async def scenario():
        async with app:
            for number in (1, 2):
                await app.client.publish("orders", number, key="k")
            await until(lambda: bool(dead))
            await drained(app.client, "orders", "handle")

    run(scenario)
    assert attempts == [1, 1, 1, 2]
    assert dead[0].extensions["deadletterreason"] == reason


def test_dead_letter_topics_that_are_each_others_do_not_send_round_for_ever(run, url):
    app = App("shop", store=url)
    handled: list[str] = []

    @app.subscribe("a", retry=Retry(max_attempts=1), dead_letter="b")
    async def one(event: CloudEvent) -> None:
        handled.append(event.topic)
        raise RuntimeError("never")

    @app.subscribe("b", retry=Retry(max_attempts=1), dead_letter="a")
    async def other(event: CloudEvent) -> None:
        handled.append(event.topic)
        raise RuntimeError("never")

    async def dead() -> int:
        return sum(group.dead for topic in await app.client.topics() for group in topic.groups)

    async def scenario():
        async with app:
            await app.client.publish("a", 1)
            while await dead() <= DEAD_TIMES_MAX:
                await asyncio.sleep(0.005)
            for topic, group in (("a", "one"), ("b", "other")):
                await drained(app.client, topic, group)

    run(scenario)
    assert len(handled) == 1 + DEAD_TIMES_MAX


def test_what_wraps_a_coroutine_function_is_awaited(run, url):
    app = App("shop", store=url)
    got: list[int] = []

    @app.activity
    async def note(number: int) -> None:
        got.append(number)

    async def inner(number: int) -> None:
        await asyncio.sleep(0)
        got.append(-number)

    @app.subscribe("orders")
    @functools.wraps(inner)
    def outer(number: int) -> object:
        return inner(number)

    app.subscribe("orders", group="activity")(note)

    async def scenario():
        async with app:
            await app.client.publish("orders", 1)
            await until(lambda: len(got) == 2)

    run(scenario)
    assert sorted(got) == [-1, 1]


def test_what_a_handler_leaves_running_publishes_no_more(run, url):
    app = App("shop", store=url)
    told: list[str] = []
    left_running: list[asyncio.Task[None]] = []

    @app.subscribe("orders")
    async def handle(number: int) -> None:
        async def later() -> None:
            await drained(app.client, "orders", "handle")
            try:
                await publish("late", number)
            except InvalidArgument as error:
                told.append(str(error))

        left_running.append(asyncio.create_task(later()))

    async def scenario():
        async with app:
            await app.client.publish("orders", 1)
            await until(lambda: bool(left_running))
            await left_running[0]

    run(scenario)
    assert "await it" in told[0]


def test_an_event_cannot_take_the_place_of_a_topic_or_an_entity(run, url):
    app = App("shop", store=url)
    dead: list[str] = []

    @app.workflow
    async def checkout(order: dict) -> None: ...

    app.subscribe("orders", starts=checkout, id="data.id", retry=QUICK, dead_letter="graveyard")
    app.subscribe("payments", raises="paid", id="data.id", retry=QUICK, dead_letter="graveyard")

    @app.subscribe("graveyard")
    async def bury(event: CloudEvent) -> None:
        dead.append(event.extensions["deadletterreason"])

    ids = [*partition_ids("victim"), "@counter@one"]

    async def scenario():
        async with app:
            for id in ids:
                await app.client.publish("orders", {"id": id})
                await app.client.publish("payments", {"id": id})
            await until(lambda: len(dead) == 2 * len(ids))
            await app.client.publish("victim", 1)
            while ("victim", 1) not in [(t.name, t.published) for t in await app.client.topics()]:
                await asyncio.sleep(0.005)

    run(scenario)
    assert all("with @ in front" in reason for reason in dead)


def test_a_handler_that_takes_too_long_has_failed(run, url):
    app = App("shop", store=url)
    attempts: list[int] = []

    @app.subscribe("orders", timeout=0.05, retry=QUICK)
    async def handle(number: int) -> None:
        attempts.append(number)
        if len(attempts) == 1:
            await asyncio.sleep(30)

    async def scenario():
        async with app:
            await app.client.publish("orders", 7)
            await drained(app.client, "orders", "handle")

    run(scenario)
    assert attempts[:2] == [7, 7]


def test_a_message_starts_a_workflow_once(run, url):
    app = App("shop", store=url)
    runs: list[str] = []

    @app.workflow
    async def checkout(order: dict) -> str:
        return order["id"]

    app.subscribe("orders", starts=checkout, id="order-{data.id}")

    async def scenario():
        async with app:
            for _ in range(3):
                await app.client.publish("orders", {"id": "a"})
            assert await app.client.get("order-a").result(timeout=30) == "a"
            await drained(app.client, "orders", "checkout")
            await app.client.publish("orders", {"id": "a"})
            await drained(app.client, "orders", "checkout")
            runs.extend([state.execution_id async for state in app.client.list()])

    run(scenario)
    assert len(runs) == 1


def test_a_workflow_that_a_message_starts_is_not_read_before_it_begins(run, url):
    app = App("shop", store=url)

    @app.workflow
    async def checkout(order: dict) -> str:
        return order["id"]

    app.subscribe("orders", starts=checkout, id="{data.id}")

    async def scenario():
        async with app:
            await app.client.publish("orders", {"id": "a"}, key="k")
            assert await app.client.get("a").result(timeout=30) == "a"
            (shard,) = app._life.engine.owned.values()
            before = shard.host.loads
            await app.client.publish("orders", {"id": "b"}, key="k")
            assert await app.client.get("b").result(timeout=30) == "b"
            assert shard.host.loads == before

    run(scenario)


def test_a_message_raises_an_event(run, url):
    app = App("shop", store=url)

    @app.workflow
    async def order() -> int:
        return await wait_for_event("paid", int)

    app.subscribe("payments", raises="paid", id=lambda event: event.key)

    async def scenario():
        async with app:
            handle = await order.with_options(id="a").start()
            await app.client.publish("payments", 12, key="a")
            return await handle.result(timeout=30)

    assert run(scenario) == 12


def test_an_event_waits_for_its_instance_and_is_given_up_when_that_has_ended(run, url):
    app = App("shop", store=url)
    dead: list[CloudEvent] = []

    @app.workflow
    async def order() -> int:
        return await wait_for_event("paid", int)

    retry = Retry(max_attempts=50, initial_interval=0.02, max_interval=0.02)
    app.subscribe("payments", raises="paid", id="key", retry=retry, dead_letter="unpaid")

    @app.subscribe("unpaid")
    async def note(event: CloudEvent) -> None:
        dead.append(event)

    async def scenario():
        async with app:
            await app.client.publish("payments", 12, key="late")
            await asyncio.sleep(0.1)
            handle = await order.with_options(id="late").start()
            assert await handle.result(timeout=30) == 12
            await app.client.publish("payments", 13, key="late")
            await until(lambda: len(dead) == 1)

    run(scenario)
    assert "'late' is completed" in dead[0].extensions["deadletterreason"]


def test_an_expression_that_does_not_fit_the_event_makes_a_dead_letter(run, url):
    app = App("shop", store=url)
    dead: list[CloudEvent] = []

    @app.workflow
    async def checkout(order: dict) -> None: ...

    app.subscribe("orders", starts=checkout, id="data.order.id", retry=QUICK, dead_letter="graveyard")

    @app.subscribe("graveyard")
    async def bury(event: CloudEvent) -> None:
        dead.append(event)

    async def scenario():
        async with app:
            await app.client.publish("orders", {"id": "a"})
            await until(lambda: len(dead) == 1)

    run(scenario)
    assert "nothing at 'data.order.id'" in dead[0].extensions["deadletterreason"]


@pytest.mark.parametrize("id", ["a\0b", "a\nb", "\N{EURO SIGN}" * 1_000], ids=["null", "line break", "long"])
def test_a_message_whose_id_no_instance_can_have_makes_a_dead_letter_and_others_go_on(run, url, id):
    app = App("shop", store=url)
    dead: list[str] = []

    started: list[int] = []

    @app.workflow
    async def checkout(order: int) -> None:
        started.append(order)

    app.subscribe("orders", starts=checkout, retry=QUICK, dead_letter="graveyard")

    @app.subscribe("graveyard")
    async def bury(event: CloudEvent) -> None:
        dead.append(event.extensions["deadletterreason"])

    async def scenario():
        async with app:
            await app.client.publish("orders", 1, id=id, key="k")
            await app.client.publish("orders", 2, id="good", key="k")
            await until(lambda: len(dead) == 1 and started == [2])

    run(scenario)
    assert "instance id" in dead[0]


def test_workflows_publish_with_their_turn_and_replay_it(run, url):
    app = App("shop", store=url)
    got: list[object] = []

    @app.workflow
    async def main() -> str:
        id = await publish("orders", {"n": 1}, key="k")
        await wait_for_event("go")
        await publish("orders", {"n": 2}, key="k")
        return id

    @app.subscribe("orders")
    async def handle(data: dict) -> None:
        got.append(data["n"])

    async def scenario():
        async with app:
            await main.with_options(id="m").start()
            await until(lambda: got == [1])
        async with app:  # so that the run is replayed
            handle = app.client.get("m")
            await handle.raise_event("go")
            id = await handle.result(timeout=30)
            await until(lambda: got == [1, 2])
            events = [event async for event in handle.history() if isinstance(event, MessagePublished)]
            assert [(e.topic, e.key, e.source) for e in events] == [("orders", "k", "shop/m")] * 2
            assert events[0].id == id != events[1].id

    run(scenario)
    assert got == [1, 2]


def test_an_activity_publishes_once_and_only_if_it_completes(run, url):
    app = App("shop", store=url)
    got: list[str] = []
    attempts: list[int] = []

    @app.activity(retry=QUICK)
    async def charge() -> str:
        attempts.append(1)
        await publish("charged", f"attempt {len(attempts)}")
        if len(attempts) < 3:
            raise RuntimeError("declined")
        return "paid"

    @app.activity
    def note() -> None:
        publish("charged", "from a thread")

    @app.workflow
    async def main() -> str:
        await note()
        return await charge()

    @app.subscribe("charged")
    async def handle(text: str) -> None:
        got.append(text)

    async def scenario():
        async with app:
            handle = await main.start()
            assert await handle.result(timeout=30) == "paid"
            await until(lambda: len(got) == 2)
            await drained(app.client, "charged", "handle")

    run(scenario)
    assert sorted(got) == ["attempt 3", "from a thread"]


def test_a_handler_publishes_with_its_message(run, url):
    app = App("shop", store=url)
    got: list[str] = []
    attempts: list[int] = []

    @app.subscribe("orders", retry=QUICK)
    async def handle(text: str) -> None:
        attempts.append(1)
        await publish("billed", f"{text} {len(attempts)}")
        if len(attempts) == 1:
            raise RuntimeError("once more")

    @app.subscribe("billed")
    async def note(text: str) -> None:
        got.append(text)

    async def scenario():
        async with app:
            await app.client.publish("orders", "a")
            await until(lambda: bool(got))
            await drained(app.client, "billed", "note")

    run(scenario)
    assert got == ["a 2"]


def test_the_same_event_again_is_dropped_and_another_source_is_another_event(run, url):
    app = App("shop", store=url)
    got: list[int] = []

    @app.subscribe("orders")
    async def handle(number: int) -> None:
        got.append(number)

    async def scenario():
        async with app:
            for number in range(3):
                await app.client.publish("orders", number, id="same")
            await app.client.publish("orders", 7, id="same", source="elsewhere")
        async with app:  # so that the memory of them comes from the store
            await app.client.publish("orders", 8, id="same")
            await app.client.publish("orders", 9, id="last")
            await until(lambda: 9 in got)

    run(scenario)
    assert sorted(got) == [0, 7, 9]


def test_a_message_that_nobody_took_in_time_is_dropped(run, url):
    app = App("shop", store=url)
    got: list[int] = []

    async def scenario():
        async with app:
            await app.client.publish("orders", 1, ttl=0.01)
            await app.client.publish("orders", 2, ttl=60)
        await asyncio.sleep(0.02)

        @app.subscribe("orders")
        async def handle(number: int) -> None:
            got.append(number)

        async with app:
            await drained(app.client, "orders", "handle")

    run(scenario)
    assert got == [2]


@pytest.mark.long
def test_late_groups_begin_with_the_earliest_or_the_newest(run, url):
    early, late = App("shop", store=url), App("shop", store=url)
    got: dict[str, list[int]] = {"all": [], "new": []}

    def subscribe(group: str, begin: str) -> None:
        @late.subscribe("orders", group=group, begin=begin)
        async def handle(number: int) -> None:
            got[group].append(number)

    subscribe("all", "earliest")
    subscribe("new", "newest")

    async def scenario():
        async with early:
            for number in range(100):
                await early.client.publish("orders", number, key="k")
        async with late:
            await late.client.publish("orders", 100, key="k")
            await drained(late.client, "orders", "all")
            await drained(late.client, "orders", "new")

    run(scenario)
    assert got == {"all": list(range(101)), "new": [100]}


@pytest.mark.long
def test_a_backlog_is_read_page_by_page_and_forgotten_when_every_group_has_passed_it(run, url, monkeypatch):
    monkeypatch.setattr(topic_line, "WINDOW_MESSAGES", 8)
    monkeypatch.setattr(topic_line, "READ_PAGES", 2)
    publisher, app = App("shop", store=url), App("shop", store=url)
    got: list[int] = []

    @app.subscribe("orders", in_hand_max=3)
    async def handle(number: int) -> None:
        got.append(number)

    async def scenario():
        async with publisher:
            for number in range(60):  # one by one, so that each has a page of its own
                await publisher.client.publish("orders", number, key="k")
            (topic,) = await publisher.client.topics()
            assert (topic.published, topic.groups) == (60, [])
        async with app:
            await drained(app.client, "orders", "handle")
            engine = app._life.engine
            (id,) = {i for i in topics_in_memory_of(engine) if topics_in_memory_of(engine)[i].log.count}
            log = topics_in_memory_of(engine)[id].log
            assert log.first == log.next
            names = [topic_log.name_of(log, page) for page in range(log.next)]
            kept = await engine.store.published(engine.shard_of(id), id, names)
            assert set(kept.values()) == {topic_log.EMPTY}

    run(scenario)
    assert got == list(range(60))


def topics_in_memory_of(engine):
    actors = [actor for shard in engine.owned.values() for actor in shard.host.actors()]
    return {actor.id: actor for actor in actors if isinstance(actor, topics_in_memory.Topic)}


def test_a_client_elsewhere_publishes_by_mail(run, url):
    app = App("shop", store=url)
    got: list[int] = []

    @app.subscribe("orders")
    async def handle(number: int) -> None:
        got.append(number)

    async def scenario():
        async with Client(url, app_id="shop") as outside:
            await outside.publish("orders", 1, key="k")  # nobody has made the topic yet
            await outside.publish("orders", 2, key="k")
            async with app:
                await until(lambda: got == [1, 2])
                await outside.publish("orders", 3, key="k")
                await until(lambda: got == [1, 2, 3])

    run(scenario)


def test_encrypted_messages_are_plain_to_code_alone(run, url, tmp_path):
    codec = Codec(keys=KeyRing({"k": bytes(32)}, current="k"), compress=False)
    app = App("shop", store=url, codec=codec)
    got: list[str] = []

    @app.activity
    async def tell(name: str) -> None:
        await publish("told", f"activity {name}")

    @app.workflow
    async def greet(name: str) -> str:
        await publish("told", f"workflow {name}")
        await tell(name)
        return name

    app.subscribe("names", starts=greet, id="greet-{data}")

    @app.subscribe("told")
    async def handle(text: str) -> None:
        got.append(text)

    async def scenario():
        async with app:
            await app.client.publish("names", "ada lovelace")
            assert await app.client.get("greet-ada lovelace").result(timeout=30) == "ada lovelace"
            await until(lambda: len(got) == 2)
            await drained(app.client, "told", "handle")

    run(scenario)
    assert sorted(got) == ["activity ada lovelace", "workflow ada lovelace"]
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("app.db*"))
    assert b"activity ada" not in stored
    assert b"workflow ada" not in stored


def test_what_is_no_message_is_refused_with_a_sentence(run, url):
    app = App("shop", store=url)

    async def scenario():
        async with app:
            client = app.client
            for wrong in ({"key": ""}, {"type": ""}, {"ttl": 0}, {"extensions": {"": "x"}}, {"id": "x" * 2_000}):
                with pytest.raises(InvalidArgument):
                    await client.publish("orders", 1, **wrong)
            with pytest.raises(InvalidArgument, match="printable"):
                await client.publish("", 1)
            with pytest.raises(InvalidArgument, match="at most 200"):
                await client.publish("x" * 201, 1)
            with pytest.raises(PayloadTooLarge, match="publish its address"):
                await client.publish("orders", "x" * (publishing.MESSAGE_BYTES_MAX + 1))
            with pytest.raises(PayloadTooLarge, match="publish its address"):
                await client.publish("orders", 1, extensions={"a": "x" * publishing.MESSAGE_BYTES_MAX})
            with pytest.raises(InvalidArgument, match="texts by name"):
                await client.publish("orders", 1, extensions=["a"])

    run(scenario)
    with pytest.raises(OnlyInWorkflow, match=r"client\.publish"):
        publish("orders", 1)


def test_subscriptions_are_checked_when_they_are_made(url):
    app = App("shop", store=url)

    @app.workflow
    async def checkout(order: dict) -> None: ...

    @app.subscribe("orders")
    async def handle(order: dict) -> None: ...

    with pytest.raises(AlreadyRegistered, match="twice"):
        app.subscribe("orders", group="handle")(lambda order: None)
    with pytest.raises(InvalidArgument, match="no path"):
        app.subscribe("orders", starts=checkout, id="order.id")
    with pytest.raises(InvalidArgument, match="on which instance"):
        app.subscribe("orders", raises="paid")
    with pytest.raises(InvalidArgument, match=r"@app\.workflow"):
        app.subscribe("orders", starts=handle)
    with pytest.raises(InvalidArgument, match="begin"):
        app.subscribe("orders", begin="now")
    for function in (lambda: None, lambda *args: None, lambda order, *, event: None):
        with pytest.raises(InvalidArgument, match="has to take the data"):
            app.subscribe("orders", group="other")(function)
    with pytest.raises(InvalidArgument, match="would come to it again"):
        app.subscribe("orders", dead_letter="orders")
    with pytest.raises(InvalidArgument, match="starts="):
        app.subscribe("orders", group="other")(checkout)
    with pytest.raises(InvalidArgument, match="a group's name"):
        app.subscribe("orders")(functools.partial(handle))

    async def streams(order: dict):
        yield order

    with pytest.raises(InvalidArgument, match="yields"):
        app.subscribe("orders")(streams)


def test_a_group_that_is_forgotten_holds_nothing_back(run, url):
    app, later = App("shop", store=url), App("shop", store=url)
    gate = asyncio.Event()

    @app.subscribe("orders")
    async def handle(number: int) -> None:
        await gate.wait()

    async def scenario():
        async with app:
            await app.client.publish("orders", 1)
            assert await left(app.client, "orders", "handle") == 1
            gate.set()
        async with later:
            await later.client.publish("orders", 2)
            (topic,) = await later.client.topics()
            assert topic.groups[0].oldest is not None
            await later.client.forget_group("orders", "handle")
            (topic,) = await later.client.topics()
            assert topic.groups == []

    run(scenario)


def test_groups_of_one_app_all_get_the_backlog_of_before_the_first(run, url, monkeypatch):
    """The second one joins when the first could have come past everything."""
    publisher, app = App("shop", store=url), App("shop", store=url)
    got: dict[str, list[int]] = {"first": [], "second": []}

    def subscribe(group: str) -> None:
        @app.subscribe("orders", group=group)
        async def handle(number: int) -> None:
            got[group].append(number)

    subscribe("first")
    subscribe("second")

    async def scenario():
        async with publisher:
            for number in range(3):
                await publisher.client.publish("orders", number, key="k")
        async with app:
            await drained(app.client, "orders", "first")
            await drained(app.client, "orders", "second")

    join = Operations.join

    async def slowly(self: Operations, *args: object) -> None:
        await join(self, *args)
        await asyncio.sleep(0.2)

    monkeypatch.setattr(Operations, "join", slowly)
    run(scenario)
    assert got == {"first": [0, 1, 2], "second": [0, 1, 2]}


def test_a_receiver_that_comes_while_a_message_is_being_written_gets_it(run, monkeypatch):
    """The turn has looked for receivers already, and no other one comes by itself."""
    got: list[int] = []

    class Receiver:
        in_hand_max, is_remote = 1, False

        def decide(self, message):
            return None

        async def handle(self, message, attempt):
            got.append(attempt)
            return Handled()

    submit = topics_in_memory.Topic._submit
    app = App("shop", store="memory:")

    async def scenario():
        async with app:
            engine = app._life.engine
            await engine.operations.join("orders", "late", DEFAULTS)

            def submitted(self, turn):
                submit(self, turn)
                if not engine.consumers.groups():
                    engine.consumers.add("orders", "late", Receiver())

            monkeypatch.setattr(topics_in_memory.Topic, "_submit", submitted)
            await app.client.publish("orders", 1)
            await until(lambda: got == [1])

    run(scenario)
