"""An independent record of what the store was told: each commit, held to the laws of a history."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from perdure.clock import SECOND
from perdure.engine.attempts import idempotency_key
from perdure.engine.standstill import is_quarantined
from perdure.history.events import (
    CONFIRMATIONS,
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ChildCancelled,
    ChildCompleted,
    ChildCreated,
    ChildFailed,
    RunCompleted,
    RunResumed,
    RunStarted,
    RunSuspended,
    TimerCancelled,
    TimerCreated,
    TimerFired,
    TurnStarted,
    decode_segment,
)
from perdure.history.options import Place, place_of
from perdure.stores.contract import (
    ADMITTED,
    FINISHED,
    QUEUED,
    Append,
    Beat,
    Creation,
    Lease,
    Notice,
    OpenCall,
    Outcome,
    Report,
    Touch,
    Turn,
)

RESOLVES: dict[type, type] = {
    ActivityCompleted: ActivityScheduled,
    ActivityFailed: ActivityScheduled,
    ActivityCancelled: ActivityScheduled,
    ChildCompleted: ChildCreated,
    ChildFailed: ChildCreated,
    ChildCancelled: ChildCreated,
    TimerFired: TimerCreated,
    TimerCancelled: TimerCreated,
}
"""Which event closes what which other event opened."""
SKEW_MAX = 600_000
"""By how many microseconds the clocks of two nodes may differ, and with them the windows of a rate."""
Run = tuple[str, str, int]
"""(instance, execution, generation)."""


@dataclass
class Track:
    """One instance as its commits left it."""

    execution: str
    generation: int
    sequence: int
    finished: bool = False


@dataclass
class Record:
    """What is known of one run: its stored segments, and which of its numbers are open and closed."""

    name: str
    parent: str | None = None
    segments: list[tuple[int, bytes]] = field(default_factory=list)
    opened: dict[int, type] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)
    yielded: dict[int, list[bytes]] = field(default_factory=dict)
    starts: int = 0
    completed: RunCompleted | None = None
    continued: bool = False
    at: int = 0
    suspended: bool = False


class Witness:
    """`violations` says in words what went wrong; nothing is raised, because the engine would swallow it.

    `now` is the store's clock, by which leases run out. `is_on_its_way` tells of a creation that a commit has asked for
    under a lease whether it happens later, and `created` is called when it does. `hears` is called with each lease that
    begins an epoch, and with the time at which the one before ran out, None if it was given back.
    """

    def __init__(
        self,
        now: Callable[[], int] = lambda: 0,
        is_on_its_way: Callable[[Lease, Creation], bool] = lambda lease, creation: False,
    ) -> None:
        self.violations: list[str] = []
        self.probes: Counter[str] = Counter()
        self.tracks: dict[str, Track] = {}
        self.records: dict[Run, Record] = {}
        self.noticed: dict[int, list[tuple[str, bytes]]] = defaultdict(list)
        """By shard, the instance and event of each notice that a commit or purge has written."""
        self._asked: dict[tuple[str, str], Creation] = {}
        self.scheduled: set[str] = set()
        self.settled: set[str] = set()
        self.skew_max = SKEW_MAX
        self._now = now
        self._is_on_its_way = is_on_its_way
        self.hears: Callable[[Lease, int | None], None] = lambda lease, ran_out: None
        self.follows: list[Callable[[Turn], None]] = []
        """Who else is told of each turn that was committed."""
        self._epochs: dict[int, int] = {}
        self._owners: dict[int, str] = {}
        self._ends: dict[int, int | None] = {}
        self._freed: set[tuple[int, int]] = set()
        self._homes: dict[str, int] = {}
        self._claims: dict[tuple[str, str | None, int | None, int], int] = {}
        self._slots: dict[str, dict[int, Place]] = defaultdict(dict)
        self._permits: dict[str, list[int]] = defaultdict(list)

    def accuse(self, text: str) -> None:
        self.violations.append(text)

    # -- what stores report ---------------------------------------------------------------------------------

    def acquired(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            known = self._epochs.get(lease.shard, 0)
            if lease.epoch < known:
                self.accuse(f"shard {lease.shard} was leased under epoch {lease.epoch} after epoch {known}")
            if lease.epoch > known:
                self._begin_epoch(lease)
            elif lease.owner != self._owners[lease.shard]:
                owners = f"{self._owners[lease.shard]} and {lease.owner}"
                self.accuse(f"shard {lease.shard} is leased to {owners} under epoch {lease.epoch}")
            self._epochs[lease.shard] = max(known, lease.epoch)
            self._ends[lease.shard] = lease.until

    def _begin_epoch(self, lease: Lease) -> None:
        ends = self._ends.get(lease.shard)
        if ends is not None and self._now() < ends:
            text = f"{ends - self._now()} microseconds before the lease of {self._owners[lease.shard]} ran out"
            self.accuse(f"shard {lease.shard} was leased to {lease.owner} {text}")
        self._owners[lease.shard] = lease.owner
        self.hears(lease, ends)
        self._forget_slots_of_calls(lease.shard)

    def beaten(self, beat: Beat) -> None:
        """A node was told which of its leases hold."""
        for lease in beat.held:
            if not self.is_newest(lease):
                self.accuse(
                    f"a beat of {lease.owner} renewed epoch {lease.epoch} of shard {lease.shard}, which is over"
                )
            self._ends[lease.shard] = lease.until

    def released(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            if self.is_newest(lease):
                self._ends[lease.shard] = None

    def expired(self, shards: Sequence[int]) -> None:
        """The world itself has freed these."""
        for shard in shards:
            self._ends[shard] = None
            self._freed.add((shard, self._epochs.get(shard, 0)))

    def _forget_slots_of_calls(self, shard: int) -> None:
        """The attempts of the last owner are over; a call runs again once its slot is written anew, and one that is
        suspected of the owner's death may have to wait until after others."""
        for id, held in self._slots.items():
            if self._homes[id] == shard:
                for number in [number for number in held if number > 0]:
                    del held[number]

    def is_newest(self, lease: Lease) -> bool:
        return self._epochs.get(lease.shard) == lease.epoch

    def is_kept(self, lease: Lease) -> bool:
        """Whether nobody has taken the shard since, and the world has not freed it behind its owner's back."""
        return self.is_newest(lease) and (lease.shard, lease.epoch) not in self._freed

    def asked(self, creation: Creation) -> None:
        """A store is asked for an instance; who asks may die before it is told that there is one."""
        self._asked[creation.head.id, creation.head.execution] = creation

    def is_stored(self, id: str) -> bool:
        """Whether there is such an instance, of which somebody was told who is alive."""
        if id not in self.tracks:
            for creation in [creation for (asked, _), creation in self._asked.items() if asked == id]:
                self.created(creation)
        return id in self.tracks

    def created(self, creation: Creation) -> None:
        """An instance was created, or was there already by the same creation."""
        head = creation.head
        self._asked.pop((head.id, head.execution), None)
        track = self.tracks.get(head.id)
        if track is None or (track.finished and track.execution != head.execution and not creation.unique):
            self.tracks[head.id] = Track(head.execution, head.generation, 0)
            self.records.setdefault((head.id, head.execution, head.generation), Record(head.name, head.parent))

    def purged(self, ids: Sequence[str]) -> None:
        for id in ids:
            if not self.tracks[id].finished:
                self.accuse(f"{id} was purged before its end")
            del self.tracks[id]

    def committed(self, lease: Lease, turns: Sequence[Turn], outcomes: Sequence[Outcome]) -> None:
        written = [turn for turn, outcome in zip(turns, outcomes, strict=True) if outcome == Outcome.COMMITTED]
        if written and not self.is_newest(lease):
            self.accuse(f"a commit under epoch {lease.epoch} was taken after epoch {self._epochs[lease.shard]} began")
        for turn in written:
            self._turn(turn)
            for follow in self.follows:
                follow(turn)
        self._count_slots()

    def brought(self, lease: Lease, turns: Sequence[Turn], outcomes: Sequence[Outcome]) -> None:
        """What turns have asked for, when those of all batches of their commit are written."""
        for turn, outcome in zip(turns, outcomes, strict=True):
            for creation in turn.created if outcome == Outcome.COMMITTED else ():
                if not self._is_on_its_way(lease, creation):
                    self.created(creation)

    # -- claims ---------------------------------------------------------------------------------------------

    def claimed(self, calls: Sequence[OpenCall], seconds: float) -> None:
        """A node was given calls of any node's runs for so long."""
        for call in calls:
            address = (call.instance, call.execution, call.generation, call.wait.number)
            if self._claims.get(address, 0) > self._now():
                self.accuse(f"call {address} was claimed while another node has it")
            self._claims[address] = self._now() + round(seconds * SECOND)
            self.probes["call claimed"] += 1

    def touched(self, touches: Sequence[Touch], alive: Sequence[bool], seconds: float) -> None:
        for touch, lives in zip(touches, alive, strict=True):
            if lives:
                address = (touch.instance, touch.execution, touch.generation, touch.number)
                self._claims[address] = self._now() + round(seconds * SECOND)

    def reported(self, reports: Sequence[Report], outcomes: Sequence[Outcome]) -> None:
        for told, outcome in zip(reports, outcomes, strict=True):
            if told.token is not None and outcome == Outcome.COMMITTED:
                mail = told.mail
                self._claims.pop((mail.instance, mail.execution, mail.generation, told.number), None)
                self.probes["claimed call reported"] += 1

    # -- queues ---------------------------------------------------------------------------------------------

    def _slots_of(self, turn: Turn) -> None:
        """What the turn takes and frees of slots, and the starts that it counts."""
        held = self._slots[turn.id]
        self._homes[turn.id] = turn.shard
        for number in list(held) if turn.erase else turn.closed:
            held.pop(number, None)
        for wait in (*turn.changed, *turn.opened):
            place = place_of(wait.options)
            held.pop(wait.number, None)
            if wait.state == ADMITTED and place is not None:
                held[wait.number] = place
                self.probes["slot taken"] += 1
            elif wait.state == QUEUED:
                self.probes["slot waited for"] += 1
        if turn.head is not None and is_quarantined(turn.head):
            held.clear()  # because who stands still for good must not keep a queue from others
        for permit in turn.permits:
            self._permits[permit.queue].append(permit.at)

    def _count_slots(self) -> None:
        """No queue has more slots taken, in all or of one key, nor more starts in any window, than its limits allow,
        on all shards together."""
        places = [place for held in self._slots.values() for place in held.values()]
        in_all = Counter(place.queue for place in places)
        of_key = Counter((place.queue, place.key) for place in places)
        for place in places:
            queue, limits = place.queue, place.limits
            taken, keyed = in_all[queue], of_key[queue, place.key]
            if limits.concurrency is not None and taken > limits.concurrency:
                self.accuse(f"queue {place.queue} has {taken} slots taken of {limits.concurrency}")
            if limits.per_key is not None and keyed > limits.per_key:
                self.accuse(f"queue {place.queue} has {keyed} slots taken of {limits.per_key} of key {place.key!r}")
            if limits.rate is not None:
                self._count_starts(queue, limits.rate, limits.per)

    def _count_starts(self, queue: str, rate: int, per: int) -> None:
        starts = sorted(self._permits[queue])
        for first, beyond in zip(starts, starts[rate:], strict=False):
            if beyond < first + per - self.skew_max:
                self.accuse(f"queue {queue} let {rate + 1} start within {beyond - first} of {per} microseconds")

    def appended(self, lease: Lease, appends: Sequence[Append], outcomes: Sequence[Outcome]) -> None:
        for append, outcome in zip(appends, outcomes, strict=True):
            if outcome == Outcome.COMMITTED:
                self._append(lease, append)
            else:
                self.probes[f"items refused: {outcome}"] += 1

    def _append(self, lease: Lease, append: Append) -> None:
        run = (append.id, append.execution, append.generation)
        record = self.records[run]
        if not self.is_newest(lease):
            self.accuse(f"{run} got items under epoch {lease.epoch} after epoch {self._epochs[lease.shard]} began")
        if append.number in record.closed or record.completed is not None:
            self.accuse(f"{run}: call {append.number} got items after its end")
        items = record.yielded.setdefault(append.number, [])
        if append.after != len(items):
            self.accuse(f"{run}: call {append.number} got items after {append.after}, and it has {len(items)}")
        items += [bytes(value.data) for value in append.values]
        self.probes["items appended"] += len(append.values)

    # -- one turn -------------------------------------------------------------------------------------------

    def purged_told(self, shard: int, gone: Sequence[Notice], ids: Sequence[str]) -> None:
        self.purged(ids)
        self.noticed[shard] += [(notice.instance, notice.event) for notice in gone if notice.instance in ids]

    def _turn(self, turn: Turn) -> None:
        self.noticed[turn.shard] += [(notice.instance, notice.event) for notice in turn.notices]
        if turn.expected is None:
            self._begin(turn)
        asked = self._asked.get((turn.id, turn.execution))
        if asked is not None:
            self.created(asked)
        track = self.tracks.get(turn.id)
        if track is None:
            self.accuse(f"a turn of {turn.id} was committed though nobody created it")
            return
        condition = (turn.execution, turn.generation, turn.expected or 0)
        if condition != (track.execution, track.generation, track.sequence):
            self.accuse(f"turn {condition} of {turn.id} was committed on {track}")
        if track.finished and turn.segment is not None:
            self.accuse(f"{turn.id} got history after its end")
        run = (turn.id, turn.execution, turn.generation)
        record = self.records.setdefault(run, Record(turn.head.name if turn.head else "?"))
        track.sequence += 1
        self._slots_of(turn)
        if turn.segment is not None:
            self._segment(run, record, turn.segment, track.sequence)
        if turn.head is not None:
            if track.finished and turn.head.status not in FINISHED:
                self.accuse(f"{turn.id} lives again after its end")
            track.finished = turn.head.status in FINISHED
            track.generation = turn.head.generation
        if turn.erase:
            record.continued = True
            self.probes["continued as new"] += 1
            assert turn.head is not None
            self.records[turn.id, turn.execution, turn.head.generation] = Record(turn.head.name, turn.head.parent)

    def _begin(self, turn: Turn) -> None:
        assert turn.head is not None
        track = self.tracks.get(turn.id)
        if track is not None and not track.finished:
            self.accuse(f"{turn.id} was started while it ran")
        self.tracks[turn.id] = Track(turn.execution, turn.generation, 0)
        self.records[turn.id, turn.execution, turn.generation] = Record(turn.head.name, turn.head.parent)

    def _segment(self, run: Run, record: Record, segment: bytes, sequence: int) -> None:
        if record.segments and sequence <= record.segments[-1][0]:
            self.accuse(f"segment {sequence} of {run} does not come after {record.segments[-1][0]}")
        record.segments.append((sequence, segment))
        events = decode_segment(segment)
        if not isinstance(events[0], TurnStarted):
            self.accuse(f"segment {sequence} of {run} does not begin with its turn: {events[0]}")
        was_suspended = record.suspended
        for event in events:
            self._event(run, record, event)
        if was_suspended and record.suspended and any(isinstance(event, CONFIRMATIONS) for event in events):
            self.accuse(f"{run} went on in turn {sequence} though it is suspended")

    def _event(self, run: Run, record: Record, event: Any) -> None:
        if record.completed is not None:
            self.accuse(f"{run}: {event} came after the end")
        if isinstance(event, TurnStarted):
            if event.at < record.at:
                self.accuse(f"{run}: time went back")
            record.at = event.at
        elif isinstance(event, RunStarted):
            record.starts += 1
            if record.starts > 1:
                self.accuse(f"{run} was started {record.starts} times")
        elif isinstance(event, RunCompleted):
            record.completed = event
        elif isinstance(event, (RunSuspended, RunResumed)):
            record.suspended = isinstance(event, RunSuspended)
        elif isinstance(event, CONFIRMATIONS):
            self._open(run, record, event)
        elif type(event) in RESOLVES and event.number > 0:
            self._close(run, record, event)

    def _open(self, run: Run, record: Record, event: Any) -> None:
        if event.number in record.opened:
            self.accuse(f"{run}: number {event.number} was used twice")
        record.opened[event.number] = type(event)
        if isinstance(event, ActivityScheduled):
            self.scheduled.add(idempotency_key((*run, event.number)))

    def _close(self, run: Run, record: Record, event: Any) -> None:
        number = event.number
        if record.opened.get(number) is not RESOLVES[type(event)]:
            self.accuse(f"{run}: {event} answers nothing that was asked")
        if number in record.closed:
            self.accuse(f"{run}: number {number} was answered twice, now by {event}")
        record.closed.add(number)
        if isinstance(event, (ActivityCompleted, ActivityFailed)):
            self.settled.add(idempotency_key((*run, number)))

    def __repr__(self) -> str:
        return f"<Witness of {len(self.records)} runs: {len(self.violations)} violations>"
