"""What must hold of a world at rest: its stored history is what was committed, and it replays."""

from __future__ import annotations

from collections.abc import Iterator

from perdure.codec import decode
from perdure.engine.attempts import idempotency_key
from perdure.errors import PerdureError
from perdure.history.delivery import deliveries, version_of
from perdure.history.events import ActivityScheduled, RunStarted, decode_segment
from perdure.history.work import Identity
from perdure.sdk.definitions import Definitions
from perdure.sdk.run import Diverged, Run
from perdure.stores.contract import EngineStore, Head, Loaded, Status
from perdure.testing.programs import Compensated, Effect, How, Step, steps
from perdure.testing.repertoire import ACTIVITIES, PROGRAM
from perdure.testing.witness import Record
from perdure.testing.witness import Run as RunKey
from perdure.testing.world import APP, World, every_head, immediately


def inspect(world: World, store: EngineStore) -> None:
    """Accuse what is wrong before the witness of the world."""
    (shard,) = immediately(store.shards(APP))
    heads = every_head(store)
    _compare_instances(world, heads)
    for head in heads:
        (loaded,) = immediately(store.load(shard, [head.id]))
        _inspect_instance(world, loaded)
    for key, record in world.witness.records.items():
        if record.segments:
            _inspect_replay(world, key, record)
            _inspect_compensations(world, key, record)


def _compare_instances(world: World, heads: list[Head]) -> None:
    stored, known = {head.id for head in heads}, set(world.witness.tracks)
    if stored != known:
        world.witness.accuse(f"stored but never created: {stored - known}; created but not stored: {known - stored}")


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
    (shard,) = immediately(store.shards(APP))
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
    return completed.failure is None or completed.failure.type != "RunTimedOut"


def replayed(key: RunKey, name: str, segments: list[bytes], definitions: Definitions, parent: str | None) -> Run:
    """Fresh code of a run, brought to where its history is. Raises Diverged."""
    events = [decode_segment(segment) for segment in segments]
    workflow = definitions.workflow(name, version_of(event for turn in events for event in turn), is_new=False)
    assert workflow is not None, f"no code for {key}"
    identity = Identity(APP, *key, name, events[0][0].at, parent)
    run = Run(identity, workflow.main, workflow.is_generator)
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
