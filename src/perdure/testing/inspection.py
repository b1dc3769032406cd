"""What must hold of a world at rest: its stored history is what was committed, and it replays."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from perdure.codec import decode
from perdure.engine.attempts import idempotency_key
from perdure.errors import PerdureError
from perdure.history.delivery import deliveries, version_of
from perdure.history.entities import is_entity
from perdure.history.events import ActivityScheduled, RunStarted, decode_segment
from perdure.history.lifecycle import LifecycleEvent, read
from perdure.history.work import Identity
from perdure.sdk.definitions import Definitions
from perdure.sdk.run import Diverged, Run
from perdure.sdk.scheduling import BUILT_IN
from perdure.stores.contract import FINISHED, EngineStore, Head, Loaded, Notices, Status
from perdure.testing.backends import every_run, immediately
from perdure.testing.programs import Compensated, Effect, How, Step, steps
from perdure.testing.repertoire import ACTIVITIES, ERRAND, PROGRAM, PlainRun
from perdure.testing.scenario import APP
from perdure.testing.witness import Record
from perdure.testing.witness import Run as RunKey
from perdure.testing.world import World

NOTICES_MAX = 1_000_000
"""Notices of one shard that are looked at: all that a world makes."""


def inspect(world: World, store: EngineStore) -> None:
    """Accuse what is wrong before the witness of the world."""
    heads = every_run(store)
    _compare_instances(world, heads)
    for head in heads:
        (loaded,) = immediately(store.load(world.shard_of(head.id), [head.id]))
        _inspect_instance(world, loaded)
    if isinstance(store, Notices):
        _inspect_notices(world, store)
    scenario = world.scenario
    if scenario.orders is not None:
        world.topics.inspect(scenario.orders)
    if scenario.books is not None:
        world.actors.inspect(scenario.books, world.topics.statements)
    for key, record in world.witness.records.items():
        if record.segments and not is_entity(key[0]):
            _inspect_replay(world, key, record)
            _inspect_compensations(world, key, record)


def _compare_instances(world: World, heads: list[Head]) -> None:
    stored, known = {head.id for head in heads}, {id for id in world.witness.tracks if not is_entity(id)}
    if stored != known:
        world.witness.accuse(f"stored but never created: {stored - known}; created but not stored: {known - stored}")


def _inspect_notices(world: World, store: Notices) -> None:
    """Each is there that was committed with its turn, and no other; they tell lives as they were."""
    accuse = world.witness.accuse
    for shard in immediately(world.backend.look().shards(APP)):
        stored = [(one.instance, one.event) for one in immediately(store.notices(shard, 0, NOTICES_MAX))]
        if stored != world.witness.noticed[shard]:
            accuse(f"shard {shard} has the notices {stored}; committed were {world.witness.noticed[shard]}")
        events = [read(event) for _, event in stored]
        ids = [event.id for event in events]
        if len(set(ids)) != len(ids):
            accuse(f"two notices have one id: {[id for id, count in Counter(ids).items() if count > 1]}")
        lives: dict[str, list[LifecycleEvent]] = defaultdict(list)
        for event in events:
            lives[event.data["execution"]].append(event)
        for execution, life in lives.items():
            _inspect_life(world, execution, life)
    told = {event.data["execution"] for shard in world.witness.noticed.values() for event in map(_event_of, shard)}
    for (id, execution, _), record in world.witness.records.items():
        if record.completed is not None and record.name not in BUILT_IN and not is_entity(id) and execution not in told:
            accuse(f"nobody was told of the life of {id} {execution}, which has ended")


def _inspect_life(world: World, execution: str, life: list[LifecycleEvent]) -> None:
    kinds, accuse = [event.kind for event in life], world.witness.accuse
    if kinds[-1] == "purged" and len(kinds) > 1:
        kinds.pop()  # because that is told after the end, of whichever kind it was
    before = kinds[: kinds.index("started")] if "started" in kinds else kinds[:-1]
    has_begun = "started" in kinds or kinds[-1] == Status.TERMINATED
    if not has_begun or kinds.count("started") > 1 or not _HALTS.issuperset(before):
        accuse(f"the life of {life[0].subject} {execution} is told as {kinds}")
    if [event.sequence for event in life] != sorted(event.sequence for event in life):
        accuse(f"the life of {life[0].subject} {execution} is told out of order: {kinds}")
    id, last = life[0].subject, max(event.data["run"] for event in life)
    ends = [kind for kind in kinds if kind in FINISHED]
    record = world.witness.records.get((id, execution, last))
    ended = record.completed.status if record is not None and record.completed is not None else None
    if (ends[-1] if ends else None) != ended:
        accuse(f"{id} {execution} ended {ended} and was told as {kinds}")
    if kinds.count("continued") != last - 1:
        accuse(f"{id} {execution} is in run {last} and was told as {kinds}")


_HALTS = frozenset(("stalled", "recovered", "suspended", "resumed"))
"""What may happen to an instance that has not begun."""


def _event_of(noticed: tuple[str, bytes]) -> LifecycleEvent:
    return read(noticed[1])


def _inspect_instance(world: World, loaded: Loaded) -> None:
    head, accuse = loaded.head, world.witness.accuse
    track = world.witness.tracks.get(head.id)
    if track is None:
        return
    if (head.execution, head.generation, head.sequence) != (
        track.execution,
        track.generation,
        track.sequence,
    ):
        accuse(f"the head of {head.id} is {head}; commits made it {track}")
    record = world.witness.records[head.id, head.execution, head.generation]
    if [(segment.sequence, segment.events) for segment in loaded.segments] != record.segments:
        accuse(f"the stored history of {head.id} is not what was committed")
    _inspect_streams(world, head, record)
    if loaded.waits or head.stalled or head.suspended:
        accuse(f"{head.id} is {head.status} and still waits: {loaded.waits}, {head.stalled}, {head.suspended}")
    if record.completed is None or record.completed.status != head.status:
        accuse(f"{head.id} is {head.status} and its history ends with {record.completed}")
    if record.starts != 1 and head.status != Status.TERMINATED:
        accuse(f"the history of {head.id} holds {record.starts} starts")


def _inspect_streams(world: World, head: Head, record: Record) -> None:
    """What was appended is there, and what goes on after a failure repeats nothing: items here are numbers in a row."""
    store, accuse, codec = world.backend.look(), world.witness.accuse, world.scenario.codec
    shard = world.shard_of(head.id)
    for number, yielded in record.yielded.items():
        items = immediately(store.items(shard, head.id, head.generation, number))
        values = [bytes(item.value.data) for item in items]
        if values != yielded:
            accuse(f"stream {number} of {head.id} holds {values}; appended were {yielded}")
        plain = [codec.unpack(item.value) for item in items] if codec is not None else [item.value for item in items]
        numbers = [decode(value, int) for value in plain]
        if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            accuse(f"stream {number} of {head.id} is not in a row: {numbers}")


def _inspect_replay(world: World, key: RunKey, record: Record) -> None:
    """Fresh code must ask again for what history holds, and come to the same end."""
    accuse = world.witness.accuse
    segments = [segment for _, segment in record.segments]
    if not _ended_by_code(record):
        segments = segments[:-1]  # because no code took part in the last turn
    if not segments:
        return
    try:
        run = replayed(key, record.name, segments, world.scenario.good, record.parent)
    except Diverged as error:
        accuse(f"{key} does not replay: {error}")
        return
    except PerdureError as error:
        accuse(f"{key} cannot be replayed: {error!r}")
        return
    world.witness.probes["replayed"] += 1
    if record.completed is not None and _ended_by_code(record) and not run.finished:
        accuse(f"{key} ended {record.completed.status} and its replay does not end")
    if run.finished and record.completed is None and not record.continued:
        accuse(f"the replay of {key} ends and its history does not")
    run.close()


def _ended_by_code(record: Record) -> bool:
    """Whether the last turn is the code's own: the run was not terminated, nor has it met its timeout."""
    completed = record.completed
    if completed is None or completed.status == Status.TERMINATED:
        return completed is None
    if completed.status == Status.CANCELED and record.name == ERRAND.name:
        return False  # because its workers have no word for a cancellation
    return completed.failure is None or completed.failure.type != "RunTimedOut"


def replayed(key: RunKey, name: str, segments: list[bytes], definitions: Definitions, parent: str | None) -> Run:
    """Fresh code of a run, brought to where its history is. Raises Diverged."""
    events = [decode_segment(segment) for segment in segments]
    workflow = definitions.workflow(
        name, version_of(event for turn in events for event in turn), is_new=False
    ) or BUILT_IN.get(name)
    assert workflow is not None, f"no code for {key}"
    identity = Identity(APP, *key, name, events[0][0].at, parent)
    run = (PlainRun if name == ERRAND.name else Run)(identity, workflow.main, workflow.is_generator)
    for turn in deliveries(events):
        run.replay(turn)
    return run


def _inspect_compensations(world: World, key: RunKey, record: Record) -> None:
    """What was begun is undone, unless the instance was terminated.

    Of a `finally` no more is asked than that it asks, because a cancellation that arrives then takes that back.
    """
    if record.name != PROGRAM.name or not _ended_by_code(record):
        return
    begun, ended, asked = world.ledger.begun, world.ledger.ended, _asked(key, record)
    for step in _steps(record):
        if isinstance(step, Compensated):
            first = next(inner for inner in steps(step.body) if isinstance(inner, Effect))
            undo = asked.get(step.undo, "")
            if begun.get(asked.get(first.mark, "")) and not (undo if step.way == "finally" else ended[undo]):
                world.witness.accuse(
                    f"{key} entered {step.enter}, began {first.mark} and was not undone by {step.undo} ({step.way})"
                )
            if undo and not ended[asked.get(step.enter, "")]:
                world.witness.accuse(f"{key} undid {step.enter}, which never happened")


def _asked(key: RunKey, record: Record) -> dict[int, str]:
    """The idempotency key of each effect that a run has asked for, by its mark."""
    marks = ACTIVITIES[How.OK].signature  # of every activity here
    events = [event for _, segment in record.segments for event in decode_segment(segment)]
    calls = [event for event in events if isinstance(event, ActivityScheduled)]
    return {marks.decode(call.input)[0][0]: idempotency_key((*key, call.number)) for call in calls}


def _steps(record: Record) -> Iterator[Step]:
    """All steps of a run's program; none if it began in its last turn, of which a run that continues keeps nothing."""
    for _, segment in record.segments:
        for event in decode_segment(segment):
            if isinstance(event, RunStarted):
                args, _ = PROGRAM.signature.decode(event.input)
                yield from steps(args[0].body)
