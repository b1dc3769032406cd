"""What ledgers and histories must look like, whatever the nemesis did: pure, and tested by itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from perdure import events as e
from tests.chaos.ledger import BEGUN, ENDED, SLOW, STALLED, Entry

RESUME_SECONDS = 2.0
"""Beyond the time of a lease, after which what a killed node ran must run again."""
ZOMBIE_LEASES = 2
"""For so many lease times after a disturbance a node may not know that others have what was its own: its next beat
tells it, if that is answered."""
SETTLED = (e.ActivityCompleted, e.ActivityFailed, e.ActivityCancelled)
SETTLED += (e.ChildCompleted, e.ChildFailed, e.ChildCancelled, e.TimerFired, e.TimerCancelled)
SCHEDULED = (e.ActivityScheduled, e.ChildCreated, e.TimerCreated)
KILL = "kill"


class Fault(msgspec.Struct, frozen=True):
    """What happened to a node, or to the store and so to all of them (`node` empty), from `begin` to `end`, in seconds
    since 1970. One that a node does not survive has no end."""

    what: str
    node: str
    begin: float
    end: float = float("inf")

    def touches(self, node: str) -> bool:
        return self.node in ("", node)

    def overlaps(self, begin: float, end: float) -> bool:
        return self.begin <= end and begin <= self.end


class Run(msgspec.Struct, frozen=True):
    """One instance as the store tells of it afterwards."""

    id: str
    execution: str
    events: Sequence[Any]


class Story(msgspec.Struct, frozen=True):
    """All that is known of one run of the suite. `wanted` and `got` are results by instance."""

    lease_seconds: float
    wanted: Mapping[str, Any]
    got: Mapping[str, Any]
    runs: Sequence[Run]
    instances: int
    entries: Sequence[Entry]
    faults: Sequence[Fault]


def violations(story: Story) -> list[str]:
    """Everything that must not be, as sentences; empty if all is well."""
    disturbed = [*story.faults, *_stalls(story.entries)]
    attempts = _attempts(story.entries)
    return [
        *_results(story),
        *(line for run in story.runs for line in _transitions(run)),
        *(line for run in story.runs for line in _effects(run, attempts)),
        *_strangers(story, attempts),
        *_repeats(story, attempts, disturbed),
        *_late(story, attempts, disturbed),
        *_slow(story, attempts, disturbed),
    ]


def _stalls(entries: Iterable[Entry]) -> Iterator[Fault]:
    """What the system did to nodes that it did not let run, or whose store it did not."""
    for entry in entries:
        if entry.what in (STALLED, SLOW):
            yield Fault(entry.what, entry.node, entry.at - entry.seconds, entry.at)


def _attempts(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """What the ledgers say of each call, by its key, in the order of time."""
    attempts: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.what in (BEGUN, ENDED):
            attempts[entry.key].append(entry)
    return attempts


def _results(story: Story) -> Iterator[str]:
    for id, wanted in story.wanted.items():
        if id not in story.got:
            yield f"{id} has not finished"
        elif story.got[id] != wanted:
            yield f"{id} has given {story.got[id]!r} in place of {wanted!r}"
    if len(story.runs) != story.instances:
        yield f"there are {len(story.runs)} instances in place of {story.instances}"


def _transitions(run: Run) -> Iterator[str]:
    """Each call is made once and ends once, behind where it was made; the run ends once, and nothing comes behind."""
    scheduled: set[int] = set()
    settled: Counter[int] = Counter()
    for event in run.events:
        if isinstance(event, SCHEDULED):
            if event.number in scheduled:
                yield f"{run.id}: call {event.number} was made twice"
            scheduled.add(event.number)
        elif isinstance(event, SETTLED):
            settled[event.number] += 1
            if event.number not in scheduled:
                yield f"{run.id}: call {event.number} has ended before it was made"
            if settled[event.number] == 2:
                yield f"{run.id}: call {event.number} has ended twice"
    ends = sum(isinstance(event, e.RunCompleted) for event in run.events)
    begins = sum(isinstance(event, e.RunStarted) for event in run.events)
    if (begins, ends) != (1, 1):
        yield f"{run.id} was started {begins} times and has ended {ends} times"
    names = Counter(event.name for event in run.events if isinstance(event, e.EventRaised))
    yield from (f"{run.id} has heard {name} {count} times" for name, count in names.items() if count > 1)


def unforced(story: Story) -> list[Entry]:
    """When the store was slow though nobody did it any harm."""
    return [
        entry
        for entry in story.entries
        if entry.what == SLOW
        and not any(
            fault.touches(entry.node) and fault.overlaps(entry.at - entry.seconds, entry.at) for fault in story.faults
        )
    ]


def key_of(run: Run, number: int) -> str:
    """The idempotency key of a call."""
    return f"{run.id}/{run.execution}.1/{number}"


def _effects(run: Run, attempts: Mapping[str, list[Entry]]) -> Iterator[str]:
    """What a history calls completed has happened."""
    for event in run.events:
        if isinstance(event, e.ActivityCompleted):
            key = key_of(run, event.number)
            ended = {entry.attempt for entry in attempts.get(key, ()) if entry.what == ENDED}
            if event.attempt not in ended:
                yield f"{key}: attempt {event.attempt} counts as completed, and the ledgers know {sorted(ended)}"


def _strangers(story: Story, attempts: Mapping[str, list[Entry]]) -> Iterator[str]:
    """No attempt is made of a call that no history knows."""
    known = {
        key_of(run, event.number)
        for run in story.runs
        for event in run.events
        if isinstance(event, e.ActivityScheduled)
    }
    yield from (f"{key} was run, and no history knows it" for key in attempts if key not in known)


def _repeats(story: Story, attempts: Mapping[str, list[Entry]], faults: Sequence[Fault]) -> Iterator[str]:
    """An attempt is made again only if its node was disturbed since it began; the next one only behind its end."""
    for key, entries in attempts.items():
        begun = [entry for entry in entries if entry.what == BEGUN]
        for one, again in pairwise(begun):
            if again.attempt == one.attempt and not _is_explained(one, again, faults, story.lease_seconds):
                yield f"{key}: attempt {one.attempt} of {one.node} was made again by {again.node}, without a reason"
            if again.attempt > one.attempt and not any(
                entry.what == ENDED and entry.attempt == one.attempt and entry.at <= again.at for entry in entries
            ):
                yield f"{key}: attempt {again.attempt} began before {one.attempt} had ended"


def _is_explained(one: Entry, again: Entry, faults: Sequence[Fault], lease_seconds: float) -> bool:
    """The first was disturbed, so that it was lost, or the second is of a node that cannot know yet."""
    return _cannot_know(again, faults, lease_seconds) or any(
        fault.touches(one.node) and fault.overlaps(one.at - lease_seconds, again.at) for fault in faults
    )


def _cannot_know(entry: Entry, faults: Sequence[Fault], lease_seconds: float) -> bool:
    """Whether the node may still believe that a shard or a call is its own, because it was disturbed just before."""
    window = entry.at - ZOMBIE_LEASES * lease_seconds, entry.at
    return any(fault.touches(entry.node) and fault.overlaps(*window) for fault in faults)


def _late(story: Story, attempts: Mapping[str, list[Entry]], faults: Sequence[Fault]) -> Iterator[str]:
    """No attempt begins after its result was committed, but by a node that was disturbed and cannot know yet."""
    for run in story.runs:
        known_at = _known_at(run, attempts)
        for number, at in known_at.items():
            key = key_of(run, number)
            for entry in attempts.get(key, ()):
                if entry.what != BEGUN or entry.at <= at:
                    continue
                if not _cannot_know(entry, faults, story.lease_seconds):
                    yield f"{key}: {entry.node} began attempt {entry.attempt} after its result was committed"


def _known_at(run: Run, attempts: Mapping[str, list[Entry]]) -> dict[int, float]:
    """When at the latest the result of each call was committed: as soon as a call that was made later began."""
    known: dict[int, float] = {}
    waiting: list[int] = []
    for event in run.events:
        if isinstance(event, e.ActivityCompleted):
            waiting.append(event.number)
        elif isinstance(event, e.ActivityScheduled) and waiting:
            began = [entry.at for entry in attempts.get(key_of(run, event.number), ()) if entry.what == BEGUN]
            if began:
                known |= dict.fromkeys(waiting, min(began))
                waiting = []
    return known


def _slow(story: Story, attempts: Mapping[str, list[Entry]], faults: Sequence[Fault]) -> Iterator[str]:
    """What a killed node was running runs again in time, counted from the last fault that came between."""
    limit = story.lease_seconds + RESUME_SECONDS
    for fault, key, seconds in resumptions(story.entries, faults, limit, attempts):
        if seconds is None or seconds > limit:
            when = "never" if seconds is None else f"{seconds:.2f} s after it"
            yield f"{key}: ran on {fault.node} when that was killed, and again {when}; {limit:g} s are allowed"


def resumptions(
    entries: Sequence[Entry],
    faults: Sequence[Fault],
    limit: float,
    attempts: Mapping[str, list[Entry]] | None = None,
) -> Iterator[tuple[Fault, str, float | None]]:
    """How long each attempt that a kill has cut off took to run again, in seconds since the kill or the last fault that
    came before; None for never."""
    attempts = _attempts(entries) if attempts is None else attempts
    for kill in faults:
        if kill.what != KILL:
            continue
        for key, known in attempts.items():
            cut = _cut_off(known, kill)
            if cut is not None:
                again = [entry.at for entry in known if entry.what == BEGUN and entry.at > kill.begin]
                since = _last_disturbed(kill, faults, limit)
                yield kill, key, max(min(again) - since, 0.0) if again else None


def is_alone(kill: Fault, faults: Sequence[Fault], limit: float) -> bool:
    """Whether nothing else happened that could hold up those who take over."""
    return _last_disturbed(kill, faults, limit) == kill.begin


def _cut_off(known: Sequence[Entry], kill: Fault) -> Entry | None:
    """The attempt of a call that was running on the node when it was killed, and that nobody else had then."""
    before = [entry for entry in known if entry.at <= kill.begin]
    if not before or before[-1].what != BEGUN or before[-1].node != kill.node:
        return None
    return before[-1]


def _last_disturbed(kill: Fault, faults: Sequence[Fault], limit: float) -> float:
    """When the last fault ended of those that follow the kill so closely that nobody had time."""
    since = kill.begin
    for fault in sorted(faults, key=lambda fault: fault.begin):
        if fault is not kill and fault.begin <= since + limit and _over(fault) > since:
            since = _over(fault)
    return since


def _over(fault: Fault) -> float:
    return fault.begin if fault.end == float("inf") else fault.end
