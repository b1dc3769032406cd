"""A workflow instance in memory: its mailbox, its turns, and what follows when a turn is durable."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import msgspec

from perdure.actors.committer import Settled
from perdure.actors.message import Message
from perdure.clock import SECOND, Clock
from perdure.engine.attempts import Address
from perdure.engine.ports import Executor, LiveRun
from perdure.engine.reports import REPORTS, AttemptBlocked, AttemptFailed, HeartbeatSeen, SlotGranted, failed, unasked
from perdure.engine.standstill import UNSTALLING, WAKING, goes_without_code, hold, is_quarantined
from perdure.errors import InstanceExists, StoreError, StoreFull, StoreUnavailable
from perdure.history.accept import COMMANDS, Verdict, judge
from perdure.history.actions import START_WAIT, TIMEOUT_WAIT, Action
from perdure.history.audit import discrepancy, relist
from perdure.history.delivery import Gate
from perdure.history.draft import Draft
from perdure.history.events import (
    ActivityFailed,
    Failure,
    RunCancelRequested,
    RunCompleted,
    RunForked,
    RunResumed,
    RunSuspended,
    RunTerminated,
    TimerFired,
    UpdateAnswered,
    decode_segment,
    encode_event,
    encode_segment,
)
from perdure.history.fork import adopt
from perdure.history.options import decode_options
from perdure.history.retry import next_attempt
from perdure.history.settle import admit, finish, record, settle
from perdure.history.work import Identity, Stall
from perdure.stores import contract
from perdure.stores.contract import (
    FINISHED,
    HELD,
    IN_QUEUE,
    QUEUED,
    SEEN_MAX,
    Head,
    Loaded,
    Segment,
    Status,
    Turn,
    Wait,
    WaitKind,
)

log = logging.getLogger("perdure")
HISTORY_EVENTS_WARN = 50_000
HISTORY_EVENTS_MAX = 1_000_000
"""A run whose history is longer stalls; continue_as_new is the remedy."""
DUE_AGAIN = SECOND // 100
"""After how many microseconds a due time comes again that came while a start of the same id was under way."""


class Services(Protocol):
    """What an instance asks of the shard that it belongs to."""

    shard: int
    clock: Clock
    executor: Executor
    history_events_max: int
    commands_only: bool

    def submit(self, turn: Turn, settled: Settled) -> None: ...
    def released(self, turn: Turn) -> None: ...
    def answered(self, id: str, answers: Sequence[UpdateAnswered]) -> None: ...
    def finished(self, instance: Instance, completed: RunCompleted | None) -> None: ...
    def stalled(self, head: Head, stall: Stall) -> None: ...
    def consumed(self, id: str, keys: Sequence[str]) -> None: ...
    def schedule(self, due: int, id: str, number: int) -> None: ...
    def tell(self, id: str, message: Message) -> None: ...
    def retry(self, id: str) -> None: ...
    def drop(self, instance: Instance) -> None: ...
    def count(self, what: str) -> None: ...
    def chance(self, event: Any) -> float: ...
    def start_attempt(self, address: Address, wait: Wait) -> None: ...
    def queued(self, address: Address, wait: Wait) -> None: ...
    def offers(self, address: Address) -> bool: ...
    def cancel_attempt(self, address: Address) -> None: ...


class Instance:
    """One workflow instance. `head` is as the store has it; everything else follows from it."""

    __slots__ = (
        "_accepted",
        "_answers",
        "_asleep",
        "_at",
        "_batch",
        "_busy",
        "_closed",
        "_completed",
        "_events",
        "_expected",
        "_gate",
        "_live",
        "_mailbox",
        "_retries_again",
        "_retrying",
        "_seen",
        "_segments",
        "_services",
        "_turn",
        "head",
        "waits",
    )

    def __init__(self, services: Services, head: Head, *, is_new: bool = False) -> None:
        self.head = head
        self.waits: dict[int, Wait] = {}
        self._services = services
        self._expected: int | None = None if is_new else head.sequence
        self._mailbox: list[Message] = []
        self._batch: list[Message] = _EMPTY
        self._accepted: list[Any] = _EMPTY
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
        self._completed: RunCompleted | None = None
        self._answers: list[UpdateAnswered] = _EMPTY

    @classmethod
    def restore(cls, services: Services, loaded: Loaded) -> Instance:
        """An instance from what the store holds of it."""
        instance = cls(services, loaded.head)
        instance.waits = {wait.number: wait for wait in loaded.waits}
        instance._segments = loaded.segments
        instance._seen = dict.fromkeys(loaded.seen)
        instance._asleep = START_WAIT in instance.waits
        instance._resume_calls()
        return instance

    # -- what the host asks ---------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        return self.head.id

    @property
    def is_finished(self) -> bool:
        return self.head.status in FINISHED

    @property
    def is_idle(self) -> bool:
        return not self._busy and (not self._mailbox or self.rests)

    @property
    def rests(self) -> bool:
        """All messages lie in the store and have to wait there: for the start time, or for an end of the stall."""
        return self._is_held(self._mailbox) and all(message.stored for message in self._mailbox)

    def tell(self, message: Message) -> None:
        self._mailbox.append(message)
        if not self._busy:
            self._take_turn()

    def due(self, number: int) -> None:
        now = self._services.clock.now()
        if self._expected is None:
            # because the start may be refused, and the due time is then that of the instance that has the id
            self._services.schedule(now + DUE_AGAIN, self.id, number)
            return
        wait = self.waits.get(number)
        if wait is None or (wait.due is not None and wait.due > now):
            return
        head = self.head
        if wait.state == QUEUED:
            self._tell_queue(wait)
        elif wait.due is None:
            return
        elif wait.kind == "activity":
            self._start_attempt(wait)
        else:
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
        elif head.stalled is None or self._retrying:
            self.tell(Message(grant, None, execution, generation))
        elif not self._busy:
            self._admit_stalled(grant)
        return True

    def untaken(self) -> list[str]:
        if not self._batch and not self._mailbox:
            return _EMPTY
        return [message.key for message in (*self._batch, *self._mailbox) if message.stored and message.key is not None]

    def close(self) -> None:
        self._closed = True
        for message in (*self._batch, *self._mailbox):
            if not message.stored and message.answer is not None:
                message.answer(
                    StoreUnavailable(
                        f"instance {self.id!r} left this node before its message was written; send it again"
                    )
                )
        self._batch, self._mailbox = _EMPTY, []
        self._drop_code()

    # -- a turn: accept, execute, settle, commit, release ------------------------------------------------------------

    def _take_turn(self) -> None:
        if self._closed or not self._mailbox or self.rests:
            return
        batch = self._batch = self._mailbox
        self._mailbox = []
        self._busy = True
        self._at = max(self._services.clock.now(), self.head.updated)  # because time never goes back within an instance
        if (self._asleep or self.head.stalled is not None or self._services.commands_only) and self._is_held(batch):
            self._hold(batch, None)
            return
        obstacle = next((message for message in batch if isinstance(message.event, _OBSTACLES)), None)
        if obstacle is not None and not goes_without_code({type(message.event) for message in batch}):
            stall = self._stall_for(obstacle)
            if stall is not None:
                self._hold(batch, stall)
                return
        accepted = self._accepted = self._accept(batch)
        if not accepted:
            self._commit(Draft(self.head, self.waits, self._at))
        elif type(accepted[0]) is RunForked:
            self._adopt(accepted)
        elif self._needs_no_code(accepted):
            self._decide_without_code(accepted)
        elif self._services.commands_only:
            self._commit(self._settle([]))
        else:
            self._execute([event for event in accepted if type(event) not in REPORTS])

    def _stall_for(self, obstacle: Message) -> Stall | None:
        """Why the run stands still for a message; None if the message is of a call that is no longer open."""
        event, head = obstacle.event, self.head
        if not isinstance(event, AttemptBlocked):
            return Stall("mail-corrupt", f"mail of {self.id!r} cannot be read: {event}")
        is_current = (obstacle.execution, obstacle.generation) == (head.execution, head.generation)
        return event.stall if is_current and event.number in self.waits else None

    def _needs_no_code(self, accepted: list[Any]) -> bool:
        if self.head.status in FINISHED:
            return True
        kinds = {type(event) for event in accepted}
        if self._asleep and RunCancelRequested in kinds:
            return True
        return RunTerminated in kinds or (TimerFired in kinds and _timed_out(accepted))

    def _is_held(self, batch: list[Message]) -> bool:
        """Whether messages have to wait: for a node with code, for the start time, or for an end of the stall."""
        kinds = {type(message.event) for message in batch}
        if self._services.commands_only and self.head.status not in FINISHED and not goes_without_code(kinds):
            return True
        if self.head.stalled is not None and not self._retrying:
            return kinds.isdisjoint(UNSTALLING)
        return self._asleep and kinds.isdisjoint(WAKING)

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
        has_work = self._busy or self._mailbox or self._live is not None
        rests = self._asleep or self.head.status in FINISHED or (self.head.stalled is not None and not self._retrying)
        if self._closed or has_work or rests:
            return
        self._at = max(self._services.clock.now(), self.head.updated)
        if not self._segments:
            found: LiveRun | Stall = Stall("history-corrupt", f"neither history nor mail of {self.id!r} tell its start")
        else:
            found = self._open()
        self._busy = True
        if isinstance(found, Stall):
            self._hold([], found)
            return
        self._live = found
        draft = self._settle([])
        relist(draft, found.listening())
        self._commit(draft)

    def _accept(self, batch: list[Message]) -> list[Any]:
        """The events of a batch that the run takes. The others are dropped, and counted."""
        accepted: list[Any] = []
        answered: set[int] = set()
        for message in batch:
            event = message.event
            if isinstance(event, Exception):
                self._services.count("mail unreadable")
                continue
            if type(event) is ActivityFailed:
                event = unasked(event)  # because it was kept as mail before the policy was asked
            if type(event) in REPORTS:
                accepted.extend(self._accept_attempt(event, message, answered))
                continue
            verdict = judge(
                self.head, self.waits, answered, self._seen, event, message.key, message.execution, message.generation
            )
            if verdict != Verdict.TAKE:
                self._services.count(verdict)
                continue
            number = getattr(event, "number", None)
            if number is not None:
                answered.add(number)
            elif isinstance(event, COMMANDS) and message.key is not None:
                self._seen[message.key] = None
            accepted.append(event)
        return accepted

    def _accept_attempt(self, event: Any, message: Message, answered: set[int]) -> list[Any]:
        """A failed attempt becomes the call's failure if the policy is exhausted; else it stays for the settling."""
        head, wait = self.head, self.waits.get(event.number)
        if message.execution != head.execution or message.generation != head.generation or wait is None:
            self._services.count(Verdict.STALE)
            return []
        if event.number in answered or (type(event) is AttemptFailed and event.attempt < wait.attempt):
            self._services.count(Verdict.STALE)  # because the attempt was run twice, and its first end counted
            return []
        if type(event) is AttemptBlocked:
            return []  # because the run ends in this very turn
        if type(event) is SlotGranted:
            answered.add(event.number)
            address = (head.id, head.execution, head.generation, event.number)
            return [event] if self._services.offers(address) else []  # because it may have been offered twice
        if type(event) is HeartbeatSeen or self._next_attempt(event, wait) is not None:
            return [event]
        answered.add(event.number)
        return [failed(event)]

    def _next_attempt(self, event: AttemptFailed, wait: Wait) -> int | None:
        if self.head.status in FINISHED:
            return None
        try:
            retry = decode_options(wait.options).retry
        except ValueError:
            return None  # because the audit of the replay that must follow lets the run stand still
        return next_attempt(retry, event.attempt, wait.since, event.at, event.failure, self._services.chance(event))

    def _execute(self, events: list[Any]) -> None:
        live = self._too_long() or self._live or (self._open() if events else None)
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
            if not any(type(event) is RunSuspended for event in events):
                return events
            self._gate = Gate()
        return self._gate.pass_through(events)

    def _open(self) -> LiveRun | Stall:
        """The run's code, brought to where its history is."""
        head = self.head
        try:
            history = [decode_segment(segment.events) for segment in self._segments]
        except ValueError as error:
            return Stall("history-corrupt", f"history of {head.id!r} cannot be read: {error}")
        started = history[0][0].at if history else self._at
        identity = Identity(
            head.app, head.id, head.execution, head.generation, head.name, started, head.parent, head.tags, head.version
        )
        live = self._services.executor.open(identity, is_new=not history)
        if not (history or self.waits) or isinstance(live, Stall):
            return live
        self._events = sum(len(events) for events in history)
        self._gate = Gate()
        stall = live.replay(history, self._gate) or self._audit(history)
        if stall is not None:
            live.close()
            return stall
        self._segments = ()
        return live

    def _audit(self, history: list[list[Any]]) -> Stall | None:
        """What is wrong with the wait rows, because a call without its row is never answered."""
        has_mail = any(message.stored for message in (*self._batch, *self._mailbox))
        found = discrepancy((event for events in history for event in events), self.waits, has_mail)
        return Stall("wait-corrupt", f"the waits of {self.id!r} are damaged: {found}") if found else None

    def _too_long(self) -> Stall | None:
        """A history beyond its bound stands still, before it can no longer be replayed in reasonable time."""
        bound = self._services.history_events_max
        if self._events <= bound:
            return None
        return Stall(
            "history-too-long",
            f"the history of {self.id!r} has {self._events:,} events and the bound is {bound:,}; let the workflow use "
            "continue_as_new, or raise history_events_max and resume",
        )

    def _advanced(self, result: list[Action] | Stall) -> None:
        if self._closed:
            return
        if isinstance(result, Stall):
            self._hold(self._batch, result)
            return
        self._commit(self._settle(result))

    def _settle(self, actions: list[Action]) -> Draft:
        history = [event for event in self._accepted if type(event) not in REPORTS]
        draft = settle(self.head, self.waits, self._at, history, actions)
        for event in self._accepted:
            if type(event) is AttemptFailed:
                self._plan_retry(draft, event)
            elif type(event) is HeartbeatSeen:
                self._keep_details(draft, event)
            elif type(event) is SlotGranted:
                admit(draft, event.number, event.permit)
        if self.head.stalled is not None:
            draft.fields["stalled"] = None  # because the code has taken this turn
        return draft

    def _plan_retry(self, draft: Draft, event: AttemptFailed) -> None:
        wait = self.waits[event.number]
        due = self._next_attempt(event, wait)
        if due is None or event.number in draft.closed:
            return
        draft.changed.append(
            msgspec.structs.replace(
                wait,
                state=HELD if wait.state == HELD else QUEUED,
                attempt=event.attempt + 1,
                due=due,
                failure=encode_event(event.failure),
                details=event.details or wait.details,
            )
        )

    def _keep_details(self, draft: Draft, event: HeartbeatSeen) -> None:
        if event.number not in draft.closed:
            draft.changed.append(msgspec.structs.replace(self.waits[event.number], details=event.details))

    def _admit_stalled(self, grant: SlotGranted) -> None:
        """A turn that only takes a slot, because the calls of a run that stands still go on."""
        self._busy = True
        draft = Draft(self.head, self.waits, max(self._services.clock.now(), self.head.updated))
        admit(draft, grant.number, grant.permit)
        self._commit(draft)

    def _decide_without_code(self, accepted: list[Any]) -> None:
        """Turns that need no user code: termination, run timeout, cancelled before the start, results after the end."""
        head = self.head
        draft = Draft(head, self.waits, self._at)
        if head.status in FINISHED:
            draft.closed.extend(event.number for event in accepted if hasattr(event, "number"))
            self._commit(draft)
            return
        for event in accepted:
            if type(event) not in REPORTS:
                record(draft, event)
        terminated = next((event for event in accepted if type(event) is RunTerminated), None)
        if terminated is not None:
            self._terminate_children(draft, terminated)
            finish(draft, Status.TERMINATED, terminated.output)
        elif not _timed_out(accepted):
            finish(draft, Status.CANCELED)  # because the code has not begun, there is nobody to tell
        else:
            finish(
                draft,
                Status.FAILED,
                failure=Failure(type="RunTimedOut", message="the run took longer than its run_timeout"),
            )
        self._commit(draft)

    def _adopt(self, accepted: list[Any]) -> None:
        """The first turn of a fork, which no code takes part in; what came with it waits for the next one."""
        draft = Draft(self.head, self.waits, self._at)
        adopt(draft, accepted[0])
        for event in accepted[1:]:
            draft.send(self.head.id, event, self.head.execution, self.head.generation)
        self._segments = (Segment(1, encode_segment(draft.events)),) if draft.events else ()
        self._commit(draft)

    def _terminate_children(self, draft: Draft, event: RunTerminated) -> None:
        if event.recursive:
            for wait in self.waits.values():
                if wait.kind == "child" and wait.on is not None:
                    draft.send(wait.on, RunTerminated(at=draft.at, output=event.output, recursive=True))

    def _commit(self, draft: Draft) -> None:
        head = self.head
        consumed, seen = _keys(self._batch)
        has_history = len(draft.events) > 1
        self._count_events(len(draft.events))
        turn = Turn(
            shard=self._services.shard,
            id=head.id,
            execution=head.execution,
            generation=head.generation,
            expected=self._expected,
            at=draft.at,
            head=draft.new_head(),
            segment=encode_segment(draft.events) if has_history else None,
            opened=list(draft.opened.values()) if draft.opened else (),
            changed=draft.changed or (),
            closed=draft.closed or (),
            consumed=consumed,
            seen=seen,
            mail=draft.mail or (),
            created=draft.created or (),
            published=draft.published or (),
            permits=draft.permits,
            erase=draft.erase,
        )
        self._answers = draft.answers
        if self._is_nothing(turn):
            self._settled_nothing()
            return
        if draft.refused:
            turn.published = (*turn.published, *draft.refused)  # because who asked may be elsewhere
        self._turn = turn
        self._completed = draft.completed
        self._services.submit(turn, self._committed)

    def _count_events(self, more: int) -> None:
        before, self._events = self._events, self._events + more
        if before < HISTORY_EVENTS_WARN <= self._events:
            log.warning(
                "the history of %s %s has %d events; continue_as_new keeps it short",
                self.head.name,
                self.id,
                self._events,
            )

    @staticmethod
    def _is_nothing(turn: Turn) -> bool:
        return turn.expected is not None and not (
            turn.head
            or turn.segment
            or turn.opened
            or turn.changed
            or turn.closed
            or turn.consumed
            or turn.mail
            or turn.created
            or turn.published
        )

    def _settled_nothing(self) -> None:
        """Everything was a duplicate, stale or refused, and nothing of it is stored."""
        for answer in self._answers:
            self._seen.pop(answer.key, None)  # because a request that was refused may be made again
        self._tell_answers()
        self._answer(None)
        self._next_turn()

    def _committed(self, outcome: contract.Outcome) -> None:
        turn, self._turn = self._turn, None
        assert turn is not None
        if outcome in _STALLING:
            self._hold(self._batch, Stall(*_STALLING[outcome]))
            return
        if outcome != contract.Outcome.COMMITTED:
            self._refused(outcome)
            return
        self._apply(turn)
        self._services.released(turn)
        self._release(turn)
        self._tell_answers()
        self._answer(None)
        if self.head.status in FINISHED:
            self._ignore_commands()
            self._services.finished(self, self._completed)
        elif turn.erase:
            self._begin_generation()
            self._next_turn()
        else:
            self._next_turn()

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

    def _release(self, turn: Turn) -> None:
        """What may happen now that the turn is durable."""
        address = (self.head.id, turn.execution, turn.generation)
        for number in turn.closed:
            self._services.cancel_attempt((*address, number))
        for wait in turn.opened:
            if wait.kind == "activity":
                self._start_attempt(wait)
            elif wait.due is not None:
                self._services.schedule(wait.due, self.head.id, wait.number)
            elif wait.kind == WaitKind.QUEUE:
                self._tell_queue(wait)
        for wait in turn.changed:
            if wait.state in IN_QUEUE:
                self._tell_queue(wait)
            elif wait.due is not None:
                self._services.schedule(wait.due, self.head.id, wait.number)
        if turn.head is not None and self.head.suspended is None and _resumed(self._accepted):
            self._resume_calls()

    def _tell_answers(self) -> None:
        answers, self._answers = self._answers, _EMPTY
        if answers:
            self._services.answered(self.head.id, answers)

    def _answer(self, error: Exception | None) -> None:
        batch, self._batch = self._batch, _EMPTY
        for message in batch:
            if message.answer is not None:
                message.answer(error)

    def _ignore_commands(self) -> None:
        """Answer those that came while the last turn was written as any that reach a run after its end."""
        for message in self._mailbox:
            if not message.stored and message.answer is not None:
                message.answer(None)
        self._mailbox = [message for message in self._mailbox if message.stored]

    def _next_turn(self) -> None:
        self._busy = False
        self._accepted = _EMPTY
        if self._mailbox:
            self._take_turn()

    def _refused(self, outcome: contract.Outcome) -> None:
        """The store has another idea of this instance: leave memory; the rest of the mailbox goes to what is stored."""
        self._services.count(outcome)
        self._put_back()
        again = [message for message in self._mailbox if not message.stored]
        refusal = self._refusal(outcome)
        if refusal is not None:
            self._answer(refusal)
        else:
            batch, self._batch = self._batch, _EMPTY
            again = [message for message in batch if not message.stored] + again
            self._retries_again |= self._retrying  # because the stall has not been tried again yet
        self._leave([message for message in again if not _is_of_time(message.event)])

    def _refusal(self, outcome: contract.Outcome) -> Exception | None:
        """What those hear whose messages cannot be taken; None if another try may do."""
        match outcome:
            case contract.Outcome.EXISTS:
                return already_exists(self.id)
            case contract.Outcome.TOO_LARGE | contract.Outcome.UNWRITABLE:
                return StoreError(f"what instance {self.id!r} was to keep cannot be written; the log has the error")
            case contract.Outcome.NO_ROOM:
                return StoreFull(f"the store has no room for instance {self.id!r}; free some, then start it again")
            case _:
                return None

    def _put_back(self) -> None:
        """Stored messages of the batch wait again: what is untaken at leaving comes with the next load."""
        stored = [message for message in self._batch if message.stored]
        if stored:
            self._batch = [message for message in self._batch if not message.stored]
            self._mailbox = stored + self._mailbox

    def _leave(self, again: list[Message]) -> None:
        """Leave memory: what is stored comes back with the next load, `again` is told to whoever is loaded then."""
        self._mailbox = [message for message in self._mailbox if message.stored]
        self._services.drop(self)
        for message in again:
            self._services.tell(self.id, message)
        if self._retries_again:
            self._services.retry(self.id)

    def _begin_generation(self) -> None:
        """continue_as_new: fresh code; its start is mail that is on its way."""
        self._drop_code()
        self._gate = None
        self._segments = ()
        self._events = 0

    # -- stalls ---------------------------------------------------------------------------------------------------

    def _hold(self, batch: list[Message], stall: Stall | None) -> None:
        """Keep messages as mail, and the reason if it is new; nothing of the turn is written."""
        turn = hold(self._services.shard, self.head, self.waits, batch, stall, self._at, self._expected)
        if turn is None:
            self._put_back()
            self._answer(None)
            self._leave([])
            return
        if stall is not None and turn.head is not None:
            self._services.stalled(self.head, stall)
        self._services.submit(turn, partial(self._held, turn.changed))

    def _held(self, answered: Sequence[Wait], outcome: contract.Outcome) -> None:
        """The messages are mail now; the instance leaves memory, so that a retry begins from what is stored."""
        if outcome != contract.Outcome.COMMITTED:
            self._refused(outcome)
            return
        for wait in answered:
            self._tell_queue(wait)
        self._put_back()
        self._answer(None)
        self._leave([message for message in self._mailbox if not message.stored])

    # -- attempts -------------------------------------------------------------------------------------------------

    def _start_attempt(self, wait: Wait) -> None:
        head = self.head
        if head.suspended is None and wait.state == HELD and not is_quarantined(head):
            self._services.start_attempt((head.id, head.execution, head.generation, wait.number), wait)
        elif wait.state in IN_QUEUE:
            self._tell_queue(wait)

    def _tell_queue(self, wait: Wait) -> None:
        head = self.head
        self._services.queued((head.id, head.execution, head.generation, wait.number), wait)

    def _resume_calls(self) -> None:
        """Start what should be running: after a load, a resume."""
        now = self._services.clock.now()
        for wait in list(self.waits.values()):
            if wait.kind == WaitKind.START and wait.due is not None:
                # because who created it may be another process, and this one's window is read already
                self._services.schedule(wait.due, self.head.id, wait.number)
            elif wait.kind == "activity" or wait.state in IN_QUEUE:
                if wait.due is None or wait.due <= now:
                    self._start_attempt(wait)
                else:
                    self._services.schedule(wait.due, self.head.id, wait.number)

    # -- small things ---------------------------------------------------------------------------------------------

    def _drop_code(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.close()

    def __repr__(self) -> str:
        head = self.head
        state = "busy" if self._busy else "idle"
        what = f"<Instance {head.name} {head.id} run {head.generation} turn {head.sequence}: {head.status}"
        return f"{what}, {state}, {len(self.waits)} waits, {len(self._mailbox)} messages>"


_EMPTY: list[Any] = []
"""Stands for a list that nobody fills, because a thousand waiting instances need not hold a thousand empty ones."""


_OBSTACLES = (Exception, AttemptBlocked)
"""Messages that may make the instance stand still: mail that cannot be read, and an attempt that cannot be made."""


_STALLING = {
    contract.Outcome.TOO_LARGE: (
        "turn-too-large",
        "a turn is larger than the store can take; pass addresses of large values, or fewer of them at once",
    ),
    contract.Outcome.UNWRITABLE: (
        "turn-not-writable",
        "the store failed at writing a turn; the log has the error, which is a defect of Perdure worth reporting",
    ),
}
"""Outcomes after which the instance stands still, with the reason."""


def already_exists(id: str) -> InstanceExists:
    return InstanceExists(f"instance {id!r} exists and is not finished; use another id, or if_exists='return'", id)


def _keys(batch: list[Message]) -> tuple[Sequence[str], Sequence[str]]:
    """Of the messages of a turn: the keys of mail that it consumes, and those to remember as seen."""
    keyed = [message for message in batch if message.key is not None]
    if not keyed:
        return (), ()
    consumed = [str(message.key) for message in keyed if message.stored]
    return consumed, [str(message.key) for message in keyed if isinstance(message.event, COMMANDS)]


def _is_of_time(event: Any) -> bool:
    """Whether an event tells of a start that may be another by now: whoever is loaded next knows when it is due."""
    return type(event) is SlotGranted or (type(event) is TimerFired and event.number == START_WAIT)


def _resumed(events: list[Any]) -> bool:
    return any(type(event) is RunResumed for event in events)


def _timed_out(events: list[Any]) -> bool:
    return any(type(event) is TimerFired and event.number == TIMEOUT_WAIT for event in events)
