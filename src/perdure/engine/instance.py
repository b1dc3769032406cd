"""A workflow instance in memory: its mailbox, its turns, and what follows when a turn is durable."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol

import msgspec

from perdure.actors.docket import Settled
from perdure.actors.host import Actor
from perdure.actors.message import Message, keys_of
from perdure.clock import SECOND
from perdure.engine import calls
from perdure.engine.attempts import Address
from perdure.engine.calls import release, start_attempt, take_up, tell_queue
from perdure.engine.grants import address_of, grants_in, slots_left_by, take_slots
from perdure.engine.mailbox import NONE, Mailbox
from perdure.engine.opening import HISTORY_EVENTS_WARN, open_run, too_long
from perdure.engine.ports import Executor, LiveRun, Tracing
from perdure.engine.refusals import refusal_of, stall_of
from perdure.engine.standstill import (
    has_to_queue,
    hold,
    hold_in_queue,
    is_held,
    is_pressing,
    is_quarantined,
    obstacle_in,
    parts_suspension,
)
from perdure.engine.tally import count_turn
from perdure.engine.workflow_slots import WORKFLOW
from perdure.errors import StoreUnavailable
from perdure.history.accept import COMMANDS, accept, begun_first, suspended_apart
from perdure.history.actions import START_WAIT, Action
from perdure.history.audit import relist
from perdure.history.codeless import decide_fork, decide_rewind, decide_without_code, needs_no_code
from perdure.history.creation import start_wait
from perdure.history.delivery import Gate
from perdure.history.draft import Draft
from perdure.history.events import (
    RunCancelRequested,
    RunCompleted,
    RunForked,
    RunRewound,
    RunStarted,
    RunSuspended,
    RunTerminated,
    SlotGranted,
    TimerFired,
    TurnAnswered,
    UpdateAnswered,
    encode_segment,
)
from perdure.history.options import Place
from perdure.history.reports import admit, fold
from perdure.history.settle import settle
from perdure.history.spread import Room, spread
from perdure.history.traced import TRACEPARENT, History, rooted, traced_run
from perdure.history.work import Stall
from perdure.stores.contract import (
    FINISHED,
    IN_QUEUE,
    QUEUED,
    SEEN_MAX,
    Head,
    Loaded,
    Outcome,
    Segment,
    Status,
    Turn,
    Wait,
    WaitKind,
)
from perdure.telemetry.metrics import Metrics

log = logging.getLogger("perdure")
DUE_AGAIN = SECOND // 100
"""After how many microseconds a due time comes again that came while a start of the same id was under way."""
AFTER_START = tuple(command for command in COMMANDS if command is not RunTerminated)
"""Events that mean nothing before the start of their run."""


class Services(calls.Services, Protocol):
    """What an instance asks of the shard that it belongs to."""

    shard: int
    executor: Executor
    history_events_max: int
    commands_only: bool
    limits_workflows: bool
    """Whether workflows may have to wait for a slot of the node; if not, nobody needs to ask or to tell of any."""
    metrics: Metrics | None
    tracing: Tracing | None

    @property
    def lacks_code(self) -> bool: ...

    def room(self) -> Room | None:
        """For how many attempts more there is room. None: whatever the turn opens is for this node alone."""

    def is_movable(self, name: str) -> bool:
        """Whether any node with the code may run the activity."""

    def promise(self, count: int) -> None:
        """So many attempts more, or fewer, are decided and not begun."""

    def may_begin(self, head: Head) -> bool:
        """Whether the node has a slot for one workflow more; if not, the instance is roused when it has."""

    def awaits_slot(self, id: str) -> bool: ...
    def begun_or_ended(self, head: Head) -> None:
        """The head is durable."""

    def not_begun(self, id: str) -> None:
        """An instance leaves memory that may have been about to begin."""

    def announce(self, before: Head, turn: Turn, completed: RunCompleted | None) -> None: ...
    def announced(self) -> None: ...
    def submit(self, turn: Turn, settled: Settled) -> None: ...
    def released(self, turn: Turn) -> None: ...
    def answered(self, id: str, answers: Sequence[UpdateAnswered]) -> None: ...
    def finished(self, instance: Instance, completed: RunCompleted | None) -> None: ...
    def stalled(self, head: Head, stall: Stall) -> None: ...
    def consumed(self, id: str, keys: Sequence[str]) -> None: ...
    def tell(self, id: str, message: Message) -> None: ...
    def retry(self, id: str) -> None: ...
    def drop(self, actor: Actor) -> None: ...
    def count(self, what: str) -> None: ...
    def chance(self, event: Any) -> float: ...
    def offers(self, address: Address) -> bool: ...
    def heard(self, address: Address) -> None: ...
    def try_again(self, id: str) -> None: ...


class Instance:
    """One workflow instance. `head` is as the store has it; everything else follows from it."""

    __slots__ = (
        "_accepted",
        "_answers",
        "_asleep",
        "_at",
        "_busy",
        "_closed",
        "_completed",
        "_events",
        "_expected",
        "_gate",
        "_history",
        "_live",
        "_mailbox",
        "_marked",
        "_metrics",
        "_promised",
        "_reports",
        "_retries_again",
        "_retrying",
        "_seen",
        "_segments",
        "_services",
        "_turn",
        "head",
        "id",
        "waits",
    )

    def __init__(self, services: Services, head: Head, *, is_new: bool = False) -> None:
        self.id = head.id
        self.head = head
        self.waits: dict[int, Wait] = {}
        self._services = services
        self._expected: int | None = None if is_new else head.sequence
        self._mailbox = Mailbox()
        self._accepted: list[Any] = NONE
        self._marked: Mapping[str, None] = _NO_KEYS
        self._reports: list[Any] = NONE
        self._busy = False
        self._closed = False
        self._retrying = False
        self._retries_again = False
        self._asleep = False
        self._live: LiveRun | None = None
        self._gate: Gate | None = None
        self._segments: Sequence[Segment] = ()
        self._seen: dict[str, None] = {}
        self._events = 0
        self._at = head.created
        self._turn: Turn | None = None
        self._promised = 0
        self._completed: RunCompleted | None = None
        self._answers: list[UpdateAnswered] = NONE
        self._history: History | None = None
        metrics = services.metrics
        self._metrics = None if metrics is None else metrics.workflow(head.name)

    @classmethod
    def restore(cls, services: Services, loaded: Loaded) -> Instance:
        """An instance from what the store holds of it."""
        instance = cls(services, loaded.head)
        instance.waits = {wait.number: wait for wait in loaded.waits}
        instance._segments = loaded.segments
        instance._seen = dict.fromkeys(loaded.seen)
        instance._asleep = START_WAIT in instance.waits
        if services.tracing is not None and TRACEPARENT in loaded.head.more:
            instance._history = History([segment.events for segment in loaded.segments])
        take_up(services, instance.head, instance.waits)
        return instance

    # -- what the host asks ---------------------------------------------------------------------------------------

    @property
    def is_finished(self) -> bool:
        return self.head.status in FINISHED

    @property
    def begun(self) -> RunStarted | None:
        """How its run began, if that is at hand."""
        return self._live.begun() if self._live is not None else None

    @property
    def is_idle(self) -> bool:
        return not self._busy and (not self._mailbox.waiting or self.rests)

    @property
    def rests(self) -> bool:
        """All messages lie in the store and have to wait there: for the start time, or for an end of the stall."""
        if self._mailbox.unstored:
            return False
        return self._awaits_slot or self._is_held(self._mailbox.waiting)

    def tell(self, message: Message) -> None:
        event = message.event
        if type(event) is TurnAnswered and self._live is not None and self._live.expects(event.token):
            self._mailbox.take_along(message)  # because the turn consumes it with the rest
            self._live.answer(event)
            return
        self._mailbox.put(message)
        if not self._busy:
            self._take_turn()
        elif is_pressing(event) and self._live is not None and self._live.retract():
            self._begin_again()

    def rouse(self) -> None:
        """Take a turn if the messages need not wait any longer."""
        if not self._busy:
            self._take_turn()

    def due(self, number: int) -> None:
        now = self._services.clock.now()
        if self._expected is None:
            # because the start may be refused, and the due time is then that of the instance that has the id
            self._services.schedule(now + DUE_AGAIN, self.id, number)
            return
        wait = self.waits.get(number)
        if wait is None:
            return
        if wait.due is not None and wait.due > now:
            # because the clock may have been set back meanwhile, and nobody else will come for it
            self._services.schedule(wait.due, self.id, number)
            return
        head = self.head
        if wait.state == QUEUED:
            tell_queue(self._services, head, wait)
        elif wait.due is None:
            return
        elif wait.kind == "activity":
            start_attempt(self._services, head, wait)
        else:
            if self._services.metrics is not None and wait.kind == WaitKind.TIMER:
                self._services.metrics.lateness.add(now - wait.due)
            event = TimerFired(at=now, number=number, due=wait.due)
            self.tell(Message(event, None, head.execution, head.generation))

    def admit(self, grant: SlotGranted, execution: str, generation: int) -> bool:
        """Take a slot of a queue, which the next turn writes; False if the wait that it is for wants none now."""
        head, wait = self.head, self.waits.get(grant.number)
        is_another = (execution, generation) != (head.execution, head.generation)
        if is_another or wait is None or wait.state not in IN_QUEUE:
            return False
        if head.suspended is not None or is_quarantined(head):
            return False  # because no attempt begins then; it asks again when it is resumed
        if head.status in FINISHED:  # because nobody awaits the call any more, and no turn is left to tell
            self._services.start_attempt((head.id, execution, generation, grant.number), wait)
        elif self._retrying or (head.stalled is None and not self._services.lacks_code):
            self.tell(Message(grant, None, execution, generation))
        elif not self._busy:
            self._take_slot(grant)
        return True

    def unstall(self) -> None:
        """The cause of the stall may be gone: take the messages that wait."""
        self._retrying = True
        if self._busy:
            self._retries_again = True  # because the turn in flight may hold its messages and leave
        else:
            self._take_turn()
            self.examine()  # because there may be no message to try

    def examine(self) -> None:
        """Hold what the store has of the run against its code, because nothing else may ever wake it."""
        has_work = self._busy or self._mailbox.waiting or self._live is not None
        rests = self._asleep or self.head.status in FINISHED or (self.head.stalled is not None and not self._retrying)
        if self._closed or has_work or rests:
            return
        self._begin(NONE, self._mailbox.waiting)
        if not self._segments:
            found: LiveRun | Stall = Stall("history-corrupt", f"neither history nor mail of {self.id!r} tell its start")
        else:
            found = self._open()
        if isinstance(found, Stall):
            self._hold([], found)
            return
        self._live = found
        draft = self._settle([])
        relist(draft, found.listening())
        self._commit(draft)

    def untaken(self) -> list[str]:
        return self._mailbox.untaken()

    def close(self) -> None:
        self._closed = True
        for message in self._mailbox.clear():
            text = f"instance {self.id!r} left this node before its message was written; send it again"
            message.settle(StoreUnavailable(text))
        self._drop_code()

    # -- a turn: accept, execute, settle, commit, release ---------------------------------------------------------

    def _take_turn(self) -> None:
        if self._closed or not self._mailbox.waiting:
            return
        if self._services.has_doors and self._takes_slots_alone():
            return
        may_wait = self._asleep or self.head.stalled is not None or self._services.lacks_code or self._lacks_slot
        if (may_wait and self.rests) or self._awaits_start():
            return
        batch, rest = begun_first(self._mailbox.waiting, self.head), NONE
        if len(batch) > 1 and self._parts_suspension(may_wait=may_wait):
            batch, rest = suspended_apart(batch)
        self._begin(batch, rest)
        if self._put_off(batch, may_wait=may_wait):
            return
        stall = obstacle_in(batch, self.head, self.waits)
        if stall is not None:
            self._hold(batch, stall)
            return
        self._accept(batch)
        self._decide(self._accepted)

    def _parts_suspension(self, *, may_wait: bool) -> bool:
        services = self._services
        return parts_suspension(
            may_wait=may_wait, commands_only=services.commands_only, is_remote=services.executor.is_remote
        )

    def _begin(self, batch: list[Message], rest: list[Message]) -> None:
        """A turn is under way; the rest of what waits waits for the next one."""
        self._mailbox.take(batch, rest)
        self._busy = True
        self._at = max(self._services.clock.now(), self.head.updated)  # because time never goes back within an instance

    def _accept(self, batch: Sequence[Message]) -> None:
        """Keep what the run takes of a batch until the turn is settled. The rest is dropped, and counted."""
        intake = accept(self.head, self.waits, self._seen, batch, self._services, has_begun=self._has_begun)
        self._accepted, self._reports = intake.events, intake.reports
        self._marked = intake.keys
        if self._services.tracing is not None and intake.events and type(intake.events[0]) is RunStarted:
            intake.events[0] = rooted(intake.events[0], self.head, self._services.tracing.begin)
        if intake.keys:
            self._seen.update(intake.keys)
        for why in intake.dropped:
            self._services.count(why)

    def _decide(self, events: list[Any]) -> None:
        """Find out what follows from what was accepted: by the rules alone, or by the code."""
        first = type(events[0]) if events else None
        if first is None and not self._reports:
            self._commit(Draft(self.head, self.waits, self._at))
        elif first is RunForked:
            self._adopt(events)
        elif first is RunRewound:
            self._rewind(events[0])
        elif needs_no_code(self.head, self._asleep or self._lacks_slot, events):
            self._commit(decide_without_code(self.head, self.waits, self._at, events, self._reports))
        elif self._services.commands_only:
            self._commit(self._settle([]))
        else:
            self._execute(events)

    def _execute(self, events: list[Any]) -> None:
        live: LiveRun | Stall | None = self._live
        if self._events > self._services.history_events_max:
            live = too_long(self.id, self._events, self._services.history_events_max)
        elif live is None and events:
            live = self._open()
        if isinstance(live, Stall):
            self._advanced(live)
            return
        self._live = live
        seen = self._let_through(events)
        if live is not None and seen:
            live.advance(self._at, seen, self._advanced)
        else:
            self._advanced([])

    def _let_through(self, events: list[Any]) -> list[Any]:
        """What the code may see of these events while the run is, or is not, suspended."""
        if self._gate is None:
            if RunSuspended not in map(type, events):
                return events
            self._gate = self._services.executor.gate()
        seen = self._gate.pass_through(events)
        if not seen:
            self._accepted = self._gate.recorded(events)
        return seen

    def _open(self) -> LiveRun | Stall:
        """The run's code, brought to where its history is."""
        messages = (*self._mailbox.taken, *self._mailbox.waiting)
        found = open_run(self._services.executor, self.head, self._segments, self.waits, self._at, messages)
        if self._segments and self._metrics is not None:
            self._metrics.replays += 1
        if isinstance(found, Stall):
            return found
        self._gate, self._events, self._segments = found.gate, found.events, ()
        return found.live

    def _advanced(self, result: list[Action] | Stall) -> None:
        if self._closed:
            return
        if isinstance(result, Stall):
            self._hold(self._mailbox.taken, result)
            return
        self._commit(self._settle(result))

    def _settle(self, actions: list[Action]) -> Draft:
        draft = settle(self.head, self.waits, self._at, self._accepted, actions)
        for report in self._reports:
            fold(draft, report, self._services)
        if self.head.stalled is not None:
            draft.fields["stalled"] = None  # because the code has taken this turn
        return draft

    def _commit(self, draft: Draft) -> None:
        self._accepted = self._reports = NONE
        self._answers = draft.answers or NONE
        if draft.opened or draft.retried:
            self._spread(draft)
        turn = draft.turn(self._services.shard, self._expected, *keys_of(self._mailbox.taken))
        if turn is None:
            self._settled_nothing()
            return
        if self._services.has_doors:
            self._leave_slots(turn, self._mailbox.taken)
        if turn.segment is not None:
            self._count_events(len(draft.events))
        if self._live is not None:
            self._live.settled(draft.events, turn.segment)
        self._turn, self._completed = turn, draft.completed
        if turn.head is not None:
            self._services.announce(self.head, turn, draft.completed)
        self._services.submit(turn, self._committed)

    def _spread(self, draft: Draft) -> None:
        """Leave to other nodes what this one has no room for."""
        room = self._services.room()
        if room is not None:
            self._promised = spread(draft, room, self._services.is_movable)
            self._services.promise(self._promised)

    def _leave_slots(self, turn: Turn, batch: Sequence[Message]) -> None:
        """Let the doors of queues know in the same turn which slots are free."""
        granted = grants_in(batch)
        for message in granted:
            self._services.heard(address_of(self.id, message))  # because one given back is asked for again later
        left = slots_left_by(self.id, self.waits, turn, granted)
        if left:
            turn.mail = [*turn.mail, *left]

    def _count_events(self, count: int) -> None:
        self._events += count
        if self._events >= HISTORY_EVENTS_WARN > self._events - count:
            log.warning(
                "the history of %s %s has %d events; continue_as_new keeps it short",
                self.head.name,
                self.id,
                self._events,
            )

    def _settled_nothing(self) -> None:
        """Everything was a duplicate, stale or refused, and nothing of it is stored."""
        for answer in self._answers:
            self._seen.pop(answer.key, None)  # because a request that was refused may be made again
        self._tell_answers()
        self._mailbox.settle()
        self._next_turn()

    def _committed(self, outcome: Outcome) -> None:
        turn, self._turn = self._turn, None
        assert turn is not None
        if self._promised:
            self._services.promise(-self._promised)
            self._promised = 0
        if outcome != Outcome.COMMITTED:
            self._not_committed(outcome)
            return
        before = self.head
        if self._metrics is not None:
            count_turn(self._metrics, turn, before, self.waits, self._at, self._events)
        self._apply(turn)
        if self._services.tracing is not None:
            self._trace(self._services.tracing, turn, before)
        waiting = len(self._mailbox.waiting)
        self._release(turn, before)
        if self._answers:
            self._tell_answers()
        self._mailbox.settle()
        self._go_on(turn, waiting)

    def _not_committed(self, outcome: Outcome) -> None:
        stall = stall_of(outcome)
        if stall is not None:
            self._hold(self._mailbox.taken, stall)
        else:
            self._refused(outcome)

    def _apply(self, turn: Turn) -> None:
        """Make the memory what the store now holds."""
        sequence = (turn.expected or 0) + 1
        self._expected = sequence
        if turn.head is not None:
            self.head = turn.head
        else:
            self.head = msgspec.structs.replace(self.head, sequence=sequence, updated=turn.at)
        waits = self.waits
        if turn.erase:
            waits.clear()
        for number in turn.closed:
            waits.pop(number, None)
        for wait in turn.changed:
            waits[wait.number] = wait
        for wait in turn.opened:
            waits[wait.number] = wait
        if turn.consumed:
            self._services.consumed(self.id, turn.consumed)
        if len(self._seen) > SEEN_MAX:
            for key in list(self._seen)[: len(self._seen) - SEEN_MAX]:
                del self._seen[key]
        self._asleep = START_WAIT in waits
        if self._services.limits_workflows:
            self._services.begun_or_ended(self.head)

    def _trace(self, tracing: Tracing, turn: Turn, before: Head) -> None:
        """Keep what a traced run has lived through, until it ends."""
        if self._history is None:
            if TRACEPARENT not in self.head.more:
                return
            self._history = History([])
        history = self._history
        if turn.segment is not None and not turn.erase:
            history.add(turn.segment)
        if not (turn.erase or (before.finished is None and self.head.finished is not None)):
            return
        run = traced_run(before if turn.erase else self.head, turn, is_whole=history.is_whole)
        if run is not None:
            tracing.ended(run, history.segments)
        self._history = None

    def _release(self, turn: Turn, before: Head) -> None:
        """What may happen now that the turn is durable."""
        services = self._services
        if turn.mail or turn.created:
            services.released(turn)
        if turn.notices:
            services.announced()
        release(services, self.head, turn)
        if _stands_still(before) and not _stands_still(self.head):
            services.try_again(self.id)
            take_up(services, self.head, self.waits)

    def _tell_answers(self) -> None:
        answers, self._answers = self._answers, NONE
        if answers:
            self._services.answered(self.head.id, answers)

    def _go_on(self, turn: Turn, waiting: int) -> None:
        """Take the next turn, or tell of the end. `waiting`: messages that came while this turn was under way."""
        if self.head.status in FINISHED:
            rewinds = self._ignore_commands() if self._mailbox.waiting else ()
            self._services.finished(self, self._completed)
            for message in rewinds:
                self._services.tell(self.id, message)
            return
        if turn.erase:
            if turn.segment is None:
                self._begin_generation()
            # because the start, and the events that were kept, go before what came while the turn was under way
            self._mailbox.waiting = [*self._mailbox.waiting[waiting:], *self._mailbox.waiting[:waiting]]
        self._next_turn()

    def _next_turn(self) -> None:
        self._busy = False
        if self._mailbox.waiting:
            self._take_turn()

    def _ignore_commands(self) -> list[Message]:
        """Answer those that came while the last turn was written as any that reach a run after its end.

        But not what asks for just that, a run that has ended: it is for who is loaded next.
        """
        rewinds = [message for message in self._mailbox.waiting if type(message.event) is RunRewound]
        for message in self._mailbox.withdraw():
            if message not in rewinds:
                message.settle()
        return rewinds

    def _begin_generation(self) -> None:
        """continue_as_new: fresh code; its start is mail that is on its way."""
        self._drop_code()
        self._gate = None
        self._segments = ()
        self._events = 0

    def _begin_again(self) -> None:
        """The turn that is under way is taken back, and its messages with those that came since make up another."""
        for key in self._marked:
            self._seen.pop(key, None)
        self._mailbox.give_back()
        self._busy = False
        self._take_turn()

    # -- turns of their own ---------------------------------------------------------------------------------------

    def _takes_slots_alone(self) -> bool:
        """Take, or give back, what doors have sent to a run that takes no other turn now; whether there was something.

        Its calls go on while its code cannot; no attempt begins while it is suspended or quarantined.
        """
        head = self.head
        is_open = head.suspended is None and not is_quarantined(head)
        if self._services.commands_only or (is_open and head.stalled is None and not self._services.lacks_code):
            return False
        grants = grants_in(self._mailbox.waiting)
        if not grants:
            return False
        self._begin(grants, [message for message in self._mailbox.waiting if message not in grants])
        self._commit(take_slots(head, self.waits, self._at, grants, is_open=is_open))
        return True

    def _take_slot(self, grant: SlotGranted) -> None:
        """A turn that only takes a slot, because the calls of a run go on whose code cannot."""
        self._begin(NONE, self._mailbox.waiting)
        draft = Draft(self.head, self.waits, self._at)
        admit(draft, grant)
        self._commit(draft)

    def _adopt(self, accepted: list[Any]) -> None:
        """The first turn of a fork."""
        draft = decide_fork(self.head, self.waits, self._at, accepted)
        self._segments = (Segment(1, encode_segment(draft.events)),) if draft.events else ()
        self._commit(draft)

    def _rewind(self, asked: RunRewound) -> None:
        """The turn of a failed run that takes it back."""
        draft = decide_rewind(self.head, self.waits, self._at, self._segments, asked)
        self._drop_code()
        self._gate, self._events = None, 0
        segment = Segment(self.head.sequence + 1, encode_segment(draft.events))
        self._segments = (segment,) if draft.events else ()
        self._commit(draft)

    # -- waiting: for the start, the code, a slot, an end of a stall ----------------------------------------------

    def _awaits_start(self) -> bool:
        """Whether the start of the generation is mail that has yet to be handed over, before what came after it."""
        if self._has_begun or self.head.status in FINISHED:
            return False
        return all(type(message.event) in AFTER_START for message in self._mailbox.waiting)

    @property
    def _has_begun(self) -> bool:
        """Whether history has the start of the generation."""
        return bool(self._events or self._segments)

    @property
    def _lacks_slot(self) -> bool:
        return self._services.limits_workflows and self._services.awaits_slot(self.id)

    @property
    def _awaits_slot(self) -> bool:
        """Whether the node has no slot to begin it, and no message ends it before."""
        if not self._lacks_slot:
            return False
        return {RunTerminated, RunCancelRequested}.isdisjoint(type(message.event) for message in self._mailbox.waiting)

    def _is_held(self, batch: Sequence[Message]) -> bool:
        return is_held(
            {type(message.event) for message in batch},
            self.head,
            is_asleep=self._asleep,
            is_retried=self._retrying,
            lacks_code=self._services.lacks_code,
            is_remote=self._services.executor.is_remote,
        )

    def _put_off(self, batch: list[Message], *, may_wait: bool) -> bool:
        """Keep the batch as mail if it has to wait: for the code, a time, an end of a stall, or for a slot."""
        head, services = self.head, self._services
        if may_wait and self._is_held(batch):
            self._hold(batch, None)
        elif head.status != Status.PENDING or head.kind != WORKFLOW or services.commands_only:
            return False  # because it has begun, or does not begin here
        elif (place := services.executor.place(head.name, head.version)) and has_to_queue(batch, self.waits):
            self._enter_queue(batch, place)
        elif services.limits_workflows and not self._may_begin(batch):
            self._hold(batch, None)
        else:
            return False
        return True

    def _may_begin(self, batch: Sequence[Message]) -> bool:
        """Whether there is a slot for a run that has not begun, or the batch ends it before.

        What a queue lets in needs none, because it would keep the queue's slot while it waits.
        """
        kinds = {type(message.event) for message in batch}
        if RunTerminated in kinds or any(wait.state in IN_QUEUE for wait in self.waits.values()):
            return True
        return self._services.may_begin(self.head) or RunCancelRequested in kinds

    def _enter_queue(self, batch: list[Message], place: Place) -> None:
        """Keep messages as mail until there is a slot."""
        queued = start_wait(self._at, None, place)
        turn = hold_in_queue(self._services.shard, self.head, self.waits, batch, queued, self._at, self._expected)
        self._services.submit(turn, partial(self._queued, queued))

    def _queued(self, wait: Wait, outcome: Outcome) -> None:
        # because a start time that comes once more meanwhile would let it begin without a slot
        waiting = self._mailbox.waiting
        self._mailbox.waiting = [message for message in waiting if message.stored or not _is_of_time(message.event)]
        self._held((wait,), outcome)

    def _hold(self, batch: list[Message], stall: Stall | None) -> None:
        """Keep messages as mail, and the reason if it is new; nothing of the turn is written."""
        turn = hold(self._services.shard, self.head, self.waits, batch, stall, self._at, self._expected)
        if turn is None:
            self._held((), Outcome.COMMITTED)  # because all of it is written already
            return
        if self._services.has_doors:
            self._leave_slots(turn, ())
        if stall is not None and turn.head is not None:
            self._services.stalled(self.head, stall)
        if turn.head is not None:
            self._services.announce(self.head, turn, None)
        self._services.submit(turn, partial(self._held, turn.changed))

    def _held(self, answered: Sequence[Wait], outcome: Outcome) -> None:
        """The messages are mail now; the instance leaves memory, so that a retry begins from what is stored."""
        if outcome != Outcome.COMMITTED:
            self._refused(outcome)
            return
        for wait in answered:
            tell_queue(self._services, self.head, wait)
        self._mailbox.give_back_stored()
        self._mailbox.settle()
        self._leave(self._mailbox.unstored)

    # -- leaving memory -------------------------------------------------------------------------------------------

    def _refused(self, outcome: Outcome) -> None:
        """The store has another idea of this instance: leave memory; the rest of the mailbox goes to what is stored."""
        self._services.count(outcome)
        refusal = refusal_of(outcome, self.id)
        if refusal is not None:
            self._mailbox.give_back_stored()
            self._mailbox.settle(refusal)
        else:
            self._mailbox.give_back()
            self._retries_again |= self._retrying  # because the stall has not been tried again yet
        self._leave([message for message in self._mailbox.unstored if not _is_of_time(message.event)])

    def _leave(self, again: list[Message]) -> None:
        """Leave memory: what is stored comes back with the next load, `again` is told to whoever is loaded then."""
        self._mailbox.withdraw()
        if self.head.status == Status.PENDING and self._services.limits_workflows:
            self._services.not_begun(self.id)
        self._services.drop(self)
        for message in again:
            self._services.tell(self.id, message)
        if self._retries_again:
            self._services.retry(self.id)

    def _drop_code(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.close()

    def __repr__(self) -> str:
        head = self.head
        state = "busy" if self._busy else "idle"
        what = f"<Instance {head.name} {head.id} run {head.generation} turn {head.sequence}: {head.status}"
        return f"{what}, {state}, {len(self.waits)} waits, {len(self._mailbox.waiting)} messages>"


_NO_KEYS: Mapping[str, None] = MappingProxyType({})


def _is_of_time(event: Any) -> bool:
    """Whether an event tells of a start that may be another by now: whoever is loaded next knows when it is due."""
    return type(event) is SlotGranted or (type(event) is TimerFired and event.number == START_WAIT)


def _stands_still(head: Head) -> bool:
    return head.suspended is not None or head.stalled is not None
