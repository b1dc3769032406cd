"""An entity in memory: its queue, its batches, and what follows when a turn is durable."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from perdure.actors.docket import Settled
from perdure.actors.host import Actor
from perdure.actors.message import Message
from perdure.clock import Clock
from perdure.engine.ports import Executor, LiveBatch
from perdure.engine.standstill import halted, is_quarantined
from perdure.errors import InvalidArgument, MailboxFull, StoreUnavailable
from perdure.history.delayed import LOCK, reminders_of
from perdure.history.draft import Draft
from perdure.history.entities import EntityQueue
from perdure.history.entity_queue import OPERATIONS_MAX, Entry, arrange, batch_of, begin, conclude, refuse_clients
from perdure.history.events import EntityCalled, Failure, TurnAnswered, UpdateAnswered
from perdure.history.work import Batch, BatchResult, Stall
from perdure.stores.contract import SEEN_MAX, Halt, Head, Loaded, Outcome, Turn, Wait

log = logging.getLogger("perdure")
_UNWRITTEN = Failure(
    type="EntityNotWritable",
    message="what the entity was to keep cannot be written; the server's log has the error",
)


class Services(Protocol):
    """What an entity asks of the shard that it belongs to."""

    shard: int
    clock: Clock
    executor: Executor
    commands_only: bool

    @property
    def lacks_code(self) -> bool: ...

    def submit(self, turn: Turn, settled: Settled) -> None: ...
    def released(self, turn: Turn) -> None: ...
    def stalled(self, head: Head, stall: Stall) -> None: ...
    def answered(self, id: str, answers: Sequence[UpdateAnswered]) -> None: ...
    def consumed(self, id: str, keys: Sequence[str]) -> None: ...
    def schedule(self, due: int, id: str, number: int) -> None: ...
    def retry(self, id: str) -> None: ...
    def drop(self, actor: Actor) -> None: ...
    def count(self, what: str) -> None: ...


class _Trial(NamedTuple):
    """A batch whose results are being written, and what there was before, for the case that they cannot be."""

    batch: list[Entry]
    queue: list[Entry]
    arrivals: list[Message]
    due: list[int]
    is_second: bool = False


class Entity:
    """One entity. `head` and `waits` are as the store has them.

    Whoever waits in its queue is mail in the store until the turn that is done with it, and so is what has just come:
    all but calls of clients of this node, which wait in memory for as long as those who made them.
    """

    __slots__ = (
        "_answers",
        "_arrivals",
        "_batch",
        "_begun",
        "_busy",
        "_callers",
        "_closed",
        "_due",
        "_has_done",
        "_is_new",
        "_lacks_code",
        "_queue",
        "_seen",
        "_services",
        "_trial",
        "_tried",
        "_turn",
        "_woken",
        "_work",
        "head",
        "waits",
    )

    def __init__(self, services: Services, loaded: Loaded, *, is_new: bool = False) -> None:
        """`is_new`: it is in no store yet, and begins with its first turn."""
        self._is_new = is_new
        self.head: Head = loaded.head
        self.waits: dict[int, Wait] = {wait.number: wait for wait in loaded.waits}
        self._services = services
        self._arrivals: list[Message] = []
        self._answers: list[UpdateAnswered] = []
        self._callers: dict[str, Message] = {}
        self._due: list[int] = []
        self._queue: list[Entry] = []
        self._seen: dict[str, None] = dict.fromkeys(reversed(loaded.seen))
        self._batch: list[Entry] = []
        self._begun = 0
        self._has_done = False
        self._lacks_code = False
        self._busy = False
        self._closed = False
        self._woken = False
        self._work: LiveBatch | None = None
        self._trial: _Trial | None = None
        self._tried = False
        self._turn: Turn | None = None
        for wait in loaded.waits:
            if wait.due is not None:
                services.schedule(wait.due, self.id, wait.number)  # because the timers may have read this time before

    # -- what the host asks ---------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        return self.head.id

    @property
    def is_idle(self) -> bool:
        return not (self._busy or self._woken)

    @property
    def rests(self) -> bool:
        """Whoever is in the queue waits for the lock, or for code that is not there."""
        return self.is_idle

    @property
    def backlog(self) -> int:
        """How many wait, those among them that are under way or delayed."""
        return len(self._queue) + len(self._arrivals) + sum(wait.due is not None for wait in self.waits.values())

    @property
    def has_done(self) -> bool:
        """Whether operations of it were run, and are durable, since it has been in memory."""
        return self._has_done

    @property
    def queue(self) -> EntityQueue:
        """Those that are to run now."""
        events = [*(entry.event for entry in self._queue), *(message.event for message in self._arrivals)]
        came = [event.at for event in events if not isinstance(event, Exception)]
        batch = tuple(entry.event.operation for entry in self._batch)
        return EntityQueue(len(came), min(came, default=0), batch, self._begun, self._lacks_code)

    def tell(self, message: Message) -> None:
        event = message.event
        if not message.stored:
            self._told_by_client(message)
            return
        if message.key in self._seen or message.key in self._callers:
            return  # because a turn is done with it, or will be
        self._arrivals.append(message)
        if type(event) is TurnAnswered and self._work is not None and self._work.expects(event.token):
            self._work.answer(event)
        else:
            self._wake()

    def _told_by_client(self, message: Message) -> None:
        """Take the call of a client of this node, which is answered in one commit less than as mail."""
        key = message.key
        if type(message.event) is not EntityCalled or key is None:
            told = f"{self.id[:200]!r} is an entity; signal it, or call it"
            message.settle(InvalidArgument(told))
        elif self._has_taken(key):
            message.settle()  # because it is a repetition, whose answer is there or will be
        elif len(self._queue) + len(self._arrivals) >= OPERATIONS_MAX:
            message.settle(MailboxFull(f"{OPERATIONS_MAX:,} messages wait for the entity {self.id!r}", self.id))
        else:
            self._callers[key] = message
            self._arrivals.append(message)
            self._wake()

    def _has_taken(self, key: str) -> bool:
        """Whether a message is here already: it may have come as mail, through another node."""
        waiting = (*(entry.key for entry in self._queue), *(message.key for message in self._arrivals))
        is_written = self._turn is not None and key in self._turn.seen
        return key in self._seen or key in self._callers or key in waiting or is_written

    def rouse(self) -> None:
        """Go on if the queue need not wait any longer."""
        self._wake()

    def due(self, number: int) -> None:
        """The time of a delayed operation may have come."""
        wait = self.waits.get(number)
        is_queued = any(entry.number == number for entry in self._queue) or number in self._due
        if wait is None or wait.due is None or is_queued:
            return
        if wait.due > self._services.clock.now():
            # because the clock may have been set back meanwhile, and nobody else will come for it
            self._services.schedule(wait.due, self.id, number)
            return
        self._due.append(number)
        self._wake()

    def untaken(self) -> list[str]:
        in_turn = self._turn.consumed if self._turn is not None else ()
        keys = (*in_turn, *(entry.key for entry in self._queue), *(message.key for message in self._arrivals))
        return [key for key in keys if key is not None and key not in self._callers]

    def close(self) -> None:
        self._closed = True
        callers, self._callers = self._callers, {}
        for message in callers.values():
            message.settle(StoreUnavailable(f"the entity {self.id!r} left this node before it answered; call it again"))
        work, self._work = self._work, None
        if work is not None:
            work.retract()

    def unstall(self) -> None:
        """Try its code once more, which may be another now."""
        self._tried = False
        self.rouse()

    def examine(self) -> None:
        """There is no history to hold against the code."""

    # -- a turn: arrange, operate, conclude, commit, release --------------------------------------------------------

    def _wake(self) -> None:
        """Take a turn soon: not at once, so that what comes together goes out together."""
        if not (self._busy or self._woken):
            self._woken = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._woken = False
        if not self._busy:
            self._take_turn()

    def _take_turn(self) -> None:
        """Write what needs no code; if that is nothing, hand out a batch."""
        if self._closed or self._services.commands_only:
            return
        draft = self._draft()
        consumed = self._arrange(draft)
        halt = self._halt_in(draft)
        if halt is not None:
            consumed += self._refuse(draft, halt)
        turn = self._turn_of(draft, consumed)
        if turn is not None:
            self._answers = draft.answers
            self._submit(turn)
        elif halt is None:
            self._operate(draft)

    def _halt_in(self, draft: Draft) -> Halt | None:
        """Why it stands still, unless its code is worth a try."""
        halt: Halt | None = draft.fields.get("stalled", self.head.stalled)
        return halt if self._tried or is_quarantined(self.head) else None

    def _draft(self) -> Draft:
        # because time never goes back within an entity
        return Draft(self.head, self.waits, max(self._services.clock.now(), self.head.updated))

    def _arrange(self, draft: Draft) -> list[str]:
        """Sort in what has come; the keys of mail that is dealt with."""
        arrivals, self._arrivals = self._arrivals, []
        due, self._due = self._due, []
        arranged = arrange(draft, self._queue, arrivals, due)
        self._queue = arranged.queue
        for why in arranged.dropped:
            self._services.count(why)
            log.warning("a message to the entity %s is dropped: %s", self.id, why)
        return arranged.consumed

    def _operate(self, draft: Draft) -> None:
        batch = [] if self._services.lacks_code else batch_of(self._queue, draft.waits.get(LOCK))
        if not batch:
            return
        head = self.head
        operations = [entry.event for entry in batch]
        reminders = [wait.token for wait in reminders_of(self.waits) if wait.token is not None]
        asked = Batch(head.app, head.id, head.name, head.execution, operations, head.custom_status, reminders)
        self._busy = True
        self._batch = batch
        self._begun = self._services.clock.now()
        work = self._services.executor.operate(asked, self._operated)
        self._lacks_code = work is None
        if work is None:
            self._busy = False
            self._batch = []
        elif self._batch:  # because it may be answered already
            self._work = work

    def _operated(self, result: BatchResult | Stall) -> None:
        """The answer of the code, or why there is none."""
        self._work = None
        if self._closed:
            return
        batch, self._batch = self._batch, []
        if isinstance(result, Stall):
            self._stand_still(result)
            return
        if result.failure is not None:
            log.warning("operations of %s fail: %s: %s", self.id, result.failure.type, result.failure.message)
        self._conclude(_Trial(batch, self._queue, self._arrivals, self._due), result)

    def _conclude(self, trial: _Trial, result: BatchResult) -> None:
        draft = self._draft()
        if self.head.stalled is not None:
            draft.fields["stalled"] = None
        done = conclude(draft, trial.batch, result)
        over = set(map(id, done))
        gone = set(draft.closed)  # because a reminder may be cleared whose time has come
        self._queue = [entry for entry in trial.queue if id(entry) not in over and entry.number not in gone]
        consumed = [entry.key for entry in done if entry.key is not None]
        turn = self._turn_of(draft, [*consumed, *self._arrange(draft)])
        assert turn is not None, "a batch that is done leaves the queue"
        self._trial = trial
        self._answers = draft.answers
        self._submit(turn)

    def _stand_still(self, stall: Stall) -> None:
        """Tell the clients that wait, and keep whatever else there is for other code."""
        self._tried = True
        draft = self._draft()
        consumed = self._refuse(draft, stall)
        halt = halted(self.head, stall, draft.at)
        if self._queue and halt is not self.head.stalled:
            draft.fields["stalled"] = halt
            self._services.stalled(self.head, stall)
        turn = self._turn_of(draft, [*consumed, *self._arrange(draft)])
        if turn is not None:
            self._answers = draft.answers
            self._submit(turn)
        else:
            self._busy = False
            self._take_turn()  # because a client may have called meanwhile

    def _refuse(self, draft: Draft, why: Halt | Stall) -> list[str]:
        """Answer the calls of clients; the keys of their mail."""
        refused = refuse_clients(draft, self._queue, Failure(type=why.reason, message=why.description or ""))
        over = set(map(id, refused))
        self._queue = [entry for entry in self._queue if id(entry) not in over]
        return [entry.key for entry in refused if entry.key is not None]

    def _turn_of(self, draft: Draft, consumed: list[str]) -> Turn | None:
        """What is to be written; None for nothing."""
        turn = draft.turn(self._services.shard, self.head.sequence, consumed, consumed)
        if turn is not None:
            begin(draft)
            turn.head = draft.new_head()
            if self._is_new:
                turn.expected = None
        return turn

    def _submit(self, turn: Turn) -> None:
        self._busy = True
        self._turn = turn
        self._services.submit(turn, self._committed)

    def _committed(self, outcome: Outcome) -> None:
        turn, trial = self._turn, self._trial
        assert turn is not None
        if outcome not in (Outcome.COMMITTED, Outcome.TOO_LARGE, Outcome.UNWRITABLE):
            self._services.count(outcome)
            self._services.drop(self)  # with its turn, whose mail is to be handed over again
            self._services.retry(self.id)
            return
        self._turn = self._trial = None
        if outcome != Outcome.COMMITTED:
            self._unwritable(trial)
            return
        self._apply(turn)
        self._has_done = self._has_done or trial is not None
        self._services.released(turn)
        self._tell_clients(turn.seen)
        self._busy = False
        self._take_turn()

    def _unwritable(self, trial: _Trial | None) -> None:
        """Do without what the batch has brought about; if even that cannot be written, wait for another owner."""
        if trial is None or trial.is_second:
            log.error("the entity %s stands still until its server starts again: a turn cannot be written", self.id)
            return
        self._arrivals = [*trial.arrivals, *self._arrivals]
        self._due = [*trial.due, *self._due]
        self._conclude(trial._replace(is_second=True), BatchResult(failure=_UNWRITTEN))

    def _apply(self, turn: Turn) -> None:
        """Make the memory what the store now holds."""
        sequence = self.head.sequence + 1
        self._is_new = False
        self.head = turn.head or msgspec.structs.replace(self.head, sequence=sequence, updated=turn.at)
        self._tried = self._tried and self.head.stalled is not None
        for number in turn.closed:
            self.waits.pop(number, None)
        for wait in (*turn.changed, *turn.opened):
            self.waits[wait.number] = wait
            if wait.due is not None:
                self._services.schedule(wait.due, self.id, wait.number)
        if turn.consumed:
            self._services.consumed(self.id, turn.consumed)

    def _tell_clients(self, seen: Sequence[str]) -> None:
        """What the turn has answered is durable."""
        answers, self._answers = self._answers, []
        if answers:
            self._services.answered(self.id, answers)
        for key in seen:
            self._seen[key] = None
            caller = self._callers.pop(key, None)
            if caller is not None:
                caller.settle()
        for key in list(self._seen)[: max(len(self._seen) - SEEN_MAX, 0)]:
            del self._seen[key]

    def __repr__(self) -> str:
        state = "busy" if self._busy else "idle"
        return f"<Entity {self.id} turn {self.head.sequence}: {state}, {len(self._queue)} in the queue>"
