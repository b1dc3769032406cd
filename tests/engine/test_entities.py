"""Entities on a real store: what they keep, whom they answer, and what a death or a lost lock leaves of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from perdure.clock import SECOND
from perdure.codec import NOTHING, Payload, decode, encode
from perdure.engine.engine import Engine
from perdure.engine.entities import Entities
from perdure.errors import InvalidArgument, MailboxFull
from perdure.history.actions import (
    Action,
    CallEntity,
    CompleteRun,
    CreateDetached,
    RequestEntityLock,
    SignalEntity,
    UnlockEntity,
)
from perdure.history.delivery import Gate, Shutter
from perdure.history.entities import EntityState
from perdure.history.events import (
    EntityCompleted,
    EntityFailed,
    EntityLockRequested,
    EventRaised,
    Failure,
    RunResumed,
    RunTerminated,
    TurnAnswered,
    encode_event,
)
from perdure.history.options import Limits
from perdure.history.work import Batch, BatchResult, Identity, Operated, Stall, StartOptions
from perdure.stores import contract
from perdure.stores.contract import Mail, Query
from perdure.stores.sql.sqlite import SqliteDatabase, open_store
from perdure.stores.sql.store import SqlStore

Code = Callable[[list[Any]], list[Action]]
"""A workflow: all events so far, to what follows from the newest."""
A, B = "@counter@a", "@counter@b"


class Desk:
    """The engine's executor, as a server has one: batches wait in it until they are worked on, or at once."""

    is_remote = True
    gate = Shutter

    def __init__(self, code: Mapping[str, Code] | None = None, *, works: bool = True) -> None:
        self.is_ready = True
        self.works = works
        self.code = code or {}
        self.handed_out: list[Bench] = []

    def fingerprint(self, name: str, version: str | None) -> None:
        return None

    def place(self, name: str, version: str | None) -> None: ...

    def queues(self) -> Mapping[str, Limits]:
        return {}

    def workflows(self) -> tuple[str, ...]:
        return ()

    def activities(self) -> tuple[str, ...]:
        return ()

    def room(self) -> None:
        return None

    def open(self, identity: Identity, is_new: bool) -> Script | Stall:
        return Script(self.code[identity.name])

    async def attempt(self, *_: object) -> None:
        raise AssertionError("nobody calls an activity")

    def operate(self, batch: Batch, done: Callable[[BatchResult | Stall], None]) -> Bench:
        bench = Bench(batch, done)
        self.handed_out.append(bench)
        if self.works:
            asyncio.get_running_loop().call_soon(bench.work)
        return bench

    def standing(self, head: object, wait: object) -> None:
        return None

    async def rest(self, seconds: float) -> None:
        return None


class Script:
    """A run whose code is a function."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self._events: list[Any] = []

    def advance(self, at: int, events: Sequence[Any], done: Callable[[list[Action] | Stall], None]) -> None:
        self._events += events
        done(self._code(self._events))

    def replay(self, history: Sequence[Sequence[Any]], gate: Gate) -> None:
        self._events = [event for segment in history for event in segment]

    def retract(self) -> bool:
        return False

    def expects(self, token: str) -> bool:
        return False

    def answer(self, answered: Any) -> None:
        raise AssertionError("nobody answers by way of another node")

    def settled(self, events: Sequence[Any], segment: bytes | None) -> None:
        return None

    def begun(self) -> None:
        return None

    def listening(self) -> dict[int, str]:
        return {}

    def close(self) -> None:
        return None


class Bench:
    """A batch that is handed out."""

    def __init__(self, batch: Batch, done: Callable[[BatchResult | Stall], None]) -> None:
        self.batch = batch
        self.done = done
        self.is_retracted = False

    @property
    def operations(self) -> list[str]:
        return [operation.operation for operation in self.batch.operations]

    def work(self) -> None:
        """Answer as a counter does."""
        if not self.is_retracted:
            self.done(counter(self.batch))

    def retract(self) -> None:
        self.is_retracted = True

    def expects(self, token: str) -> bool:
        return token == self.batch.operations[0].request

    def answer(self, answered: TurnAnswered) -> None:
        assert self.expects(answered.token)
        self.work()


def counter(batch: Batch) -> BatchResult:
    """The code of every entity here: it adds, tells, fails, deletes itself, and spreads to others."""
    value = decode(batch.state, int) if batch.state is not None else 0
    results: list[Operated] = []
    actions: list[Any] = []
    state: Payload | None = batch.state
    for operation in batch.operations:
        match operation.operation:
            case "add":
                value += decode(operation.input, int) if operation.input is not None else 1
                state = encode(value)
                results.append(Operated(state))
            case "delete":
                value, state = 0, None
                results.append(Operated())
            case "fail":
                results.append(Operated(failure=Failure("ValueError", "no")))
            case "spread":
                actions += [
                    SignalEntity(number=1, target=B, operation="add", input=encode(5)),
                    CreateDetached(number=2, name="hello", instance=f"from {operation.request}"),
                ]
                results.append(Operated())
            case _:
                results.append(Operated(encode(value)))
    return BatchResult(results, actions, state)


@asynccontextmanager
async def node(url: str, desk: Desk | None = None, **options: Any) -> AsyncIterator[Engine]:
    engine = Engine("shop", open_store(url), desk or Desk(), quarantine_deaths=None, drain_seconds=0.0, **options)
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


async def until(look: Callable[[], Any]) -> Any:
    """What `look` gives as soon as it is something; the scenario's bound ends the wait."""
    while True:
        found = look()
        found = await found if asyncio.iscoroutine(found) else found
        if found:
            return found
        await asyncio.sleep(0.005)


async def value(entities: Entities, id: str = A) -> int | None:
    found = await entities.get(id)
    return decode(found.state, int) if found is not None and found.state is not None else None


async def comes_to(entities: Entities, wanted: int | None, id: str = A) -> None:
    async def is_there() -> bool:
        return await value(entities, id) == wanted

    await until(is_there)


async def add(engine: Engine, count: int, id: str = A, **options: Any) -> None:
    await engine.operations.entities.signal(id, "add", "", encode(count), **options)


async def start(engine: Engine, name: str, id: str) -> None:
    await engine.operations.start(name, NOTHING, StartOptions(id=id))


def answers_of(events: list[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, EntityCompleted | EntityFailed)]


def caller(events: list[Any]) -> list[Action]:
    """Calls `add`, then `fail`; its output is what it heard."""
    answers = answers_of(events)
    if len(answers) == 2:
        told = [decode(answers[0].output, int), answers[1].failure.type]
        return [CompleteRun(status="completed", output=encode(told))]
    operation, number = ("add", 1) if not answers else ("fail", 2)
    return [CallEntity(number=number, target=A, operation=operation, request=f"q{number}", input=encode(3))]


def locker(events: list[Any]) -> list[Action]:
    """Locks both, and keeps them until it hears `go`."""
    if isinstance(events[-1], EventRaised):
        unlocks = [UnlockEntity(number=2 + n, section="s", target=id) for n, id in enumerate((A, B))]
        return [*unlocks, CompleteRun(status="completed", number=9)]
    if not any(type(event).__name__ == "EntityLockRequested" for event in events) and len(events) == 1:
        return [RequestEntityLock(number=1, section="s", locks=[B, A])]
    return []


def hello(events: list[Any]) -> list[Action]:
    return [CompleteRun(status="completed", output=encode("hello"))]


CODE = {"caller": caller, "locker": locker, "hello": hello}


# -- signals and state ------------------------------------------------------------------------------------------------


def test_signals_change_the_state_in_order_and_it_survives(run, url):
    async def scenario() -> None:
        async with node(url) as engine:
            for n in range(20):
                await add(engine, n)
            await comes_to(engine.operations.entities, 190)
        async with node(url) as engine:
            assert await value(engine.operations.entities) == 190
            await add(engine, 10)
            await comes_to(engine.operations.entities, 200)

    run(scenario)


def test_what_waits_goes_out_together_and_in_order(run, url):
    async def scenario() -> None:
        desk = Desk()
        desk.is_ready = False
        async with node(url, desk) as engine:
            for name in ("add", "get", "add", "fail"):
                await engine.operations.entities.signal(A, name, "")
            found = await engine.operations.entities.get(A)
            assert found is not None
            assert (found.backlog, found.state) == (4, None)
            assert desk.handed_out == []
            desk.is_ready = True
            for shard in engine.owned.values():
                shard.rouse()
            await comes_to(engine.operations.entities, 2)
            assert [bench.operations for bench in desk.handed_out] == [["add", "get", "add", "fail"]]

    run(scenario)


def test_a_signal_that_is_sent_again_counts_once(run, url):
    async def scenario() -> None:
        async with node(url) as engine:
            for _ in range(3):
                await engine.operations.entities.signal(A, "add", "the same")
            await comes_to(engine.operations.entities, 1)
            await engine.operations.entities.signal(A, "add", "the same")
            await engine.operations.entities.signal(A, "add", "another")
            await comes_to(engine.operations.entities, 2)

    run(scenario)


def test_a_delayed_signal_is_due_after_a_restart_and_in_nobody_s_way(run, url):
    async def scenario() -> None:
        async with node(url) as engine:
            now = engine.clock.now()
            await add(engine, 100, scheduled=now + SECOND // 2)
            await add(engine, 1)
            await comes_to(engine.operations.entities, 1)
            found = await engine.operations.entities.get(A)
            assert found is not None
            assert found.backlog == 1
        async with node(url) as engine:
            await comes_to(engine.operations.entities, 101)
            assert engine.clock.now() >= now + SECOND // 2

    run(scenario)


def test_more_entities_than_memory_holds_lose_nothing(run, url):
    async def scenario() -> None:
        async with node(url, activations_max=5) as engine:
            ids = [f"@counter@{n}" for n in range(40)]
            await asyncio.gather(*(add(engine, 1, id) for id in ids for _ in range(3)))
            for id in ids:
                await comes_to(engine.operations.entities, 3, id)

    run(scenario)


def test_a_full_queue_refuses_clients_in_words(run, url, monkeypatch):
    monkeypatch.setattr(contract, "MAILBOX_MESSAGES_MAX", 2)
    monkeypatch.setattr("perdure.stores.sql.instances.MAILBOX_MESSAGES_MAX", 2)

    async def scenario() -> None:
        desk = Desk()
        desk.is_ready = False
        async with node(url, desk) as engine:
            await add(engine, 1)
            await add(engine, 1)
            with pytest.raises(MailboxFull, match="signal it again later"):
                await add(engine, 1)

    run(scenario)


@pytest.mark.parametrize("id", ["counter", "@counter", "@@a", "@counter@" + "k" * 101])
def test_ids_that_are_none_are_refused(run, url, id):
    async def scenario() -> None:
        async with node(url) as engine:
            with pytest.raises(InvalidArgument):
                await add(engine, 1, id)
            assert await engine.operations.entities.get(id) is None

    run(scenario)


# -- deaths and refusals ----------------------------------------------------------------------------------------------


def test_a_batch_whose_node_dies_is_run_again_and_an_old_answer_is_nobody_s(run, url):
    async def scenario() -> None:
        desk = Desk(works=False)
        async with node(url, desk) as engine:
            await add(engine, 7)
            (old,) = await until(lambda: desk.handed_out)
        assert old.is_retracted
        async with node(url) as engine:
            old.done(counter(old.batch))
            await comes_to(engine.operations.entities, 7)
            await add(engine, 1)
            await comes_to(engine.operations.entities, 8)

    run(scenario)


def test_an_answer_that_comes_by_way_of_another_node_is_taken_if_it_is_for_what_is_out(run, url):
    async def scenario() -> None:
        desk = Desk(works=False)
        async with node(url, desk) as engine:
            await engine.operations.entities.signal(A, "add", "token")
            await until(lambda: desk.handed_out)
            for token in ("stale", "token", "token"):
                event = TurnAnswered(token=token)
                await engine.operations.post.deliver(Mail(A, f"turn.{token}", encode_event(event), 0))
                await engine.operations.post.deliver(Mail(A, f"again.{token}", encode_event(event), 0))
            await comes_to(engine.operations.entities, 1)
            await until(partial(has_no_mail, engine))
            assert len(desk.handed_out) == 1

    run(scenario)


async def has_no_mail(engine: Engine) -> bool:
    return all(not loaded.mail for loaded in await engine.store.load(engine.shard_of(A), [A]))


def test_what_a_worker_has_not_come_to_is_run_again(run, url):
    async def scenario() -> None:
        desk = Desk(works=False)
        async with node(url, desk) as engine:
            await asyncio.gather(*(add(engine, 1) for _ in range(3)))
            first = (await until(lambda: desk.handed_out))[0]
            first.done(BatchResult([Operated()], state=encode(1)))
            desk.works = True
            await until(lambda: len(desk.handed_out) == 2)
            desk.handed_out[1].work()
            await comes_to(engine.operations.entities, 3)

    run(scenario)


@pytest.mark.parametrize("answer", [BatchResult(failure=Failure("Boom", "all")), BatchResult()])
def test_a_batch_that_fails_as_a_whole_leaves_the_state_and_the_next_one_runs(run, url, answer):
    async def scenario() -> None:
        desk = Desk()
        async with node(url, desk) as engine:
            await add(engine, 7)
            await comes_to(engine.operations.entities, 7)
            desk.works = False
            await add(engine, 100)
            (await until(lambda: desk.handed_out[1:]))[0].done(answer)
            desk.works = True
            await add(engine, 1)
            await comes_to(engine.operations.entities, 8)

    run(scenario)


def test_an_entity_whose_code_stalls_keeps_its_mail_until_it_is_resumed_or_another_owner_tries(run, url):
    async def scenario() -> None:
        desk = Desk(works=False)
        async with node(url, desk) as engine:
            await add(engine, 7)
            (await until(lambda: desk.handed_out))[0].done(Stall("key-missing", "no key"))
            await until_stalled(engine, True)
            await add(engine, 1)
            asked = await engine.operations.call_actor(A, "add", "asked", encode(1), [], False)
            assert asked.failure == Failure("key-missing", "no key")
            assert len(desk.handed_out) == 1  # because nothing says that it would go better now
            await engine.operations.command(A, None, RunResumed(at=0), "again")
            (await until(lambda: desk.handed_out[1:]))[0].done(Stall("key-missing", "no key"))
            await until_stalled(engine, True)
        desk = Desk(works=False)
        async with node(url, desk) as engine:
            await until(lambda: desk.handed_out)
            asking = asyncio.create_task(engine.operations.call_actor(A, "add", "meanwhile", encode(1), [], False))
            await until(lambda: engine.owner_of(A).host.get(A).queue.count == 3)
            desk.handed_out[0].done(Stall("key-missing", "no key"))
            assert (await asking).failure == Failure("key-missing", "no key")
        async with node(url, Desk()) as engine:
            await comes_to(engine.operations.entities, 8)
            await until_stalled(engine, False)

    run(scenario)


async def until_stalled(engine: Engine, expected: bool) -> None:
    while True:
        (head,) = (await engine.store.find(Query(app="shop", kind=None), None, 10)).heads
        if (head.stalled is not None) is expected:
            return
        await asyncio.sleep(0.01)


def test_a_state_that_cannot_be_written_fails_its_operations_alone(run, tmp_path: Path):
    def too_much(events: list[Any]) -> list[Action]:
        (answer, *_) = [*answers_of(events), None]
        if answer is not None:
            return [CompleteRun(status="completed", output=encode(answer.failure.type))]
        return [CallEntity(number=1, target=A, operation="add", request="q", input=encode(1))]

    async def scenario() -> None:
        desk = Desk({"caller": too_much}, works=False)
        store = SqlStore(SqliteDatabase(str(tmp_path / "app.db"), row_bytes_max=100_000))
        engine = Engine("shop", store, desk, quarantine_deaths=None, drain_seconds=0.0)
        await engine.open()
        try:
            await start(engine, "caller", "w")
            (bench,) = await until(lambda: desk.handed_out)
            bench.done(BatchResult([Operated()], state=encode("x" * 2_000_000)))
            state = await engine.operations.outcome("w", None, 10)
            assert state.output == encode("EntityNotWritable")
            desk.works = True
            await add(engine, 3)
            await comes_to(engine.operations.entities, 3)
        finally:
            await engine.close()

    run(scenario)


# -- calls and locks --------------------------------------------------------------------------------------------------


def test_a_workflow_calls_and_hears_results_and_failures(run, url):
    async def scenario() -> None:
        async with node(url, Desk(CODE)) as engine:
            await start(engine, "caller", "w")
            state = await engine.operations.outcome("w", None, 10)
            assert state.output == encode([3, "ValueError"])

    run(scenario)


def test_explain_names_the_entity_that_is_waited_for(run, url):
    async def scenario() -> None:
        desk = Desk(CODE, works=False)
        async with node(url, desk) as engine:
            await start(engine, "caller", "w")
            await until(lambda: desk.handed_out)
            told = await engine.operations.explain("w")
            assert (told.cause, told.command) == ("entity", f"perdure explain {A}")
            assert f"waits for add of the entity {A}" in told.sentence

    run(scenario)


def test_a_call_survives_the_node_between_question_and_answer(run, url):
    async def scenario() -> None:
        desk = Desk(CODE, works=False)
        async with node(url, desk) as engine:
            await start(engine, "caller", "w")
            await until(lambda: desk.handed_out)
        async with node(url, Desk(CODE)) as engine:
            state = await engine.operations.outcome("w", None, 10)
            assert state.output == encode([3, "ValueError"])
            assert await value(engine.operations.entities) == 3

    run(scenario)


async def is_locked(engine: Engine, by: str | None) -> None:
    async def look() -> bool:
        heads = [await engine.store.waits(engine.shard_of(id), id) for id in (A, B)]
        return all([wait.on for wait in waits if wait.number == 0] == ([by] if by else []) for waits in heads)

    await until(look)


def test_a_lock_holds_others_off_until_it_is_given_back_and_over_a_restart(run, url):
    async def scenario() -> None:
        async with node(url, Desk(CODE)) as engine:
            await start(engine, "locker", "owner")
            await is_locked(engine, "owner")
            await add(engine, 1)
            told = await engine.operations.explain(A)
            assert "is locked by owner" in told.sentence
            await start(engine, "locker", "next")
        async with node(url, Desk(CODE)) as engine:
            entities = engine.operations.entities
            found = await entities.get(A)
            assert found is not None
            assert (found.locked_by, found.state, found.backlog) == ("owner", None, 2)
            told = await engine.operations.explain("next")
            assert (told.cause, "waits for the lock of @counter@a, @counter@b" in told.sentence) == (
                "entity-lock",
                True,
            )
            await engine.operations.command("owner", None, EventRaised(name="go"), "go")
            await comes_to(entities, 1)
            await is_locked(engine, "next")
            await engine.operations.command("next", None, EventRaised(name="go"), "go too")
            await engine.operations.outcome("next", None, 10)
            await is_locked(engine, None)

    run(scenario)


@pytest.mark.parametrize("who", ["owner", "next"])
def test_the_end_of_an_owner_and_of_one_that_waits_frees_the_way(run, url, who):
    async def scenario() -> None:
        async with node(url, Desk(CODE)) as engine:
            await start(engine, "locker", "owner")
            await is_locked(engine, "owner")
            await start(engine, "locker", "next")
            await add(engine, 1)
            await engine.operations.command(who, None, RunTerminated(), "end")
            await engine.operations.outcome(who, None, 10)
            if who == "owner":
                await is_locked(engine, "next")
                await engine.operations.command("next", None, EventRaised(name="go"), "go")
            else:
                await engine.operations.command("owner", None, EventRaised(name="go"), "go")
            await comes_to(engine.operations.entities, 1)
            await is_locked(engine, None)

    run(scenario)


def test_a_lock_whose_run_is_gone_is_released_by_a_clean_up_alone(run, url):
    async def scenario() -> None:
        async with node(url, Desk(CODE)) as engine:
            entities = engine.operations.entities
            await add(engine, 1)
            await comes_to(entities, 1)
            await start(engine, "locker", "owner")
            await is_locked(engine, "owner")
            assert await entities.clean(removes_empty=True, releases_orphaned=True) == (0, 0, None)
            await engine.operations.command("owner", None, EventRaised(name="go"), "go")
            await is_locked(engine, None)
            request = EntityLockRequested(number=1, section="lost", locks=[A], parent_instance="nobody")
            mail = Mail(A, "k", encode_event(request), 0, "e", 1)
            await engine.operations.post.deliver(mail)
            await until(partial(locked_by, entities, "nobody"))
            assert await entities.clean(removes_empty=False, releases_orphaned=False) == (0, 0, None)
            assert await entities.clean(removes_empty=False, releases_orphaned=True) == (0, 1, None)
            await until(partial(locked_by, entities, None))

    run(scenario)


async def locked_by(entities: Entities, who: str | None) -> bool:
    found = await entities.get(A)
    return found is not None and found.locked_by == who


# -- what entities start, and where they are seen ---------------------------------------------------------------------


def test_an_entity_signals_others_and_starts_workflows(run, url):
    async def scenario() -> None:
        async with node(url, Desk(CODE)) as engine:
            await engine.operations.entities.signal(A, "spread", "q")
            await comes_to(engine.operations.entities, 5, B)
            await until(partial(is_finished, engine, "from q"))
            await engine.operations.entities.signal(A, "spread", "r")
            await comes_to(engine.operations.entities, 10, B)
            await until(partial(is_finished, engine, "from r"))

    run(scenario)


async def is_finished(engine: Engine, id: str) -> bool:
    found, _ = await engine.operations.find(Query(), None, 10)
    return any(state.id == id and state.is_finished for state in found)


def test_entities_are_no_workflows_to_those_who_look(run, url):
    async def scenario() -> None:
        async with node(url, Desk(CODE)) as engine:
            await start(engine, "hello", "w")
            for id in (A, B, "@other@x"):
                await add(engine, 1, id)
                await comes_to(engine.operations.entities, 1, id)
            found, _ = await engine.operations.find(Query(), None, 10)
            assert [state.id for state in found] == ["w"]
            entities = engine.operations.entities
            page, cursor = await entities.find("@counter@", limit=2)
            rest, end = await entities.find("@counter@", cursor, limit=2) if cursor else ([], None)
            assert sorted(entity.id for entity in page + rest) == [A, B]
            assert end is None
            assert all(isinstance(entity, EntityState) and entity.exists for entity in page)

    run(scenario)


def test_no_instance_takes_the_id_of_an_entity_and_no_entity_a_command(run, url):
    async def scenario() -> None:
        async with node(url, Desk(CODE)) as engine:
            with pytest.raises(InvalidArgument, match="without @"):
                await start(engine, "hello", A)
            await add(engine, 1)
            with pytest.raises(InvalidArgument, match="no workflow"):
                await engine.operations.command(A, None, EventRaised(name="go"), "k")
            await add(engine, 1)
            await comes_to(engine.operations.entities, 2)

    run(scenario)


def test_an_entity_without_state_is_nobody_and_a_clean_up_removes_it(run, url):
    async def scenario() -> None:
        async with node(url) as engine:
            entities = engine.operations.entities
            await add(engine, 1)
            await add(engine, 1, B)
            await comes_to(entities, 1)
            await comes_to(entities, 1, B)
            await entities.signal(A, "delete", "")
            await comes_to(entities, None)
            assert await entities.get(A) is None
            while (cleaned := await entities.clean(removes_empty=True, releases_orphaned=True)) == (0, 0, None):
                await asyncio.sleep(0)  # because the store has the turn before the entity hears of it
            assert cleaned == (1, 0, None)
            assert await engine.store.load(engine.shard_of(A), [A, B]) != []
            assert await engine.store.head(engine.shard_of(A), A) is None
            assert await value(entities, B) == 1
            await add(engine, 5)
            await comes_to(entities, 5)

    run(scenario)


def test_a_clean_up_goes_on_where_the_call_before_has_ended(run, url, monkeypatch):
    monkeypatch.setattr("perdure.engine.entities.CLEAN_PAGE", 2)

    async def scenario() -> None:
        async with node(url) as engine:
            entities = engine.operations.entities
            for n in range(5):
                await entities.signal(f"@counter@{n}", "get", "")
                await until(partial(is_unused, engine, f"@counter@{n}"))
            removed, cursor, calls = 0, None, 0
            while calls == 0 or cursor is not None:
                more, _, cursor = await entities.clean(True, True, cursor)
                removed, calls = removed + more, calls + 1
            assert (removed, calls) == (5, 3)

    run(scenario)


async def is_unused(engine: Engine, id: str) -> bool:
    (loaded,) = await engine.store.load(engine.shard_of(id), [id])
    return not loaded.mail and loaded.head.status == "running"


def test_a_deletion_takes_the_state_and_then_the_entity(run, url):
    async def scenario() -> None:
        async with node(url) as engine:
            entities = engine.operations.entities
            assert not await entities.delete(A)
            await add(engine, 1)
            await comes_to(entities, 1)
            assert await entities.delete(A)
            await comes_to(entities, None)
            while not await entities.delete(A):  # because the store has the turn before the entity hears of it
                await asyncio.sleep(0)
            assert await engine.store.head(engine.shard_of(A), A) is None

    run(scenario)


@pytest.mark.long
def test_signals_beside_clean_ups_are_not_lost(run, url):
    async def scenario() -> None:
        async with node(url, Desk(CODE)) as engine:
            entities = engine.operations.entities
            swept = 0

            async def sweep() -> None:
                nonlocal swept
                while True:
                    swept += (await entities.clean(removes_empty=True, releases_orphaned=False))[0]
                    await asyncio.sleep(0)

            sweeping = asyncio.create_task(sweep())
            for _ in range(40):
                await entities.signal(A, "spread", "")
                await entities.signal(A, "delete", "")
                await asyncio.sleep(0.005)
            await comes_to(entities, 200, B)
            await until(lambda: swept)  # an empty one is left at the end, if all others lived on
            sweeping.cancel()

    run(scenario)
