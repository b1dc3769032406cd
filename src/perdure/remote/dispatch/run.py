"""A run whose code is with remote workers: its history as bytes, and what becomes of its turns."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from perdure.errors import MalformedMessage, PerdureError
from perdure.history.delivery import Gate
from perdure.history.events import (
    DetachedCreated,
    EventSent,
    RunCompleted,
    RunStarted,
    TimerCreated,
    TimerFired,
    TurnAnswered,
    TurnStarted,
    decode_segment,
    encode_segment,
)
from perdure.history.work import Identity, Stall
from perdure.remote.codec import Codec
from perdure.remote.dispatch.dispatcher import Dispatcher
from perdure.remote.dispatch.steps import tagged
from perdure.remote.dispatch.turn import Done, TurnWork
from perdure.remote.dispatch.verdict import inherited, permitted, take
from perdure.remote.dispatch.work import Peer
from perdure.remote.requests import Flavour, TurnResult
from perdure.remote.security import Grant
from perdure.remote.wire.execution import wire_execution

log = logging.getLogger("perdure")
_TIMED = frozenset((TimerCreated, TimerFired))
Lineage = Callable[[str, str, int, int], Awaitable[bytes | None]]
"""What a call of an app's instance, of a number and with a scope, hands on of its history, for workers to read."""


class RemoteRun:
    """A run's history as bytes, in the form of the store and in that of the worker which had it last.

    `now` is the time that a turn has when it is handed out, microseconds since 1970 UTC; without it, that at which it
    was asked for.
    """

    __slots__ = (
        "_after",
        "_answered",
        "_codec",
        "_dispatcher",
        "_done",
        "_end",
        "_ends",
        "_events",
        "_known",
        "_load_lineage",
        "_loading",
        "_nanos",
        "_patches",
        "_segments",
        "_started",
        "_taker",
        "_trace",
        "_turn",
        "execution",
        "identity",
        "lineage",
        "now",
    )

    def __init__(
        self,
        identity: Identity,
        dispatcher: Dispatcher,
        now: Callable[[], int] | None = None,
        lineage: Lineage | None = None,
    ) -> None:
        self.identity = identity
        self.execution = wire_execution(identity.execution, identity.generation)
        self.now = now
        self.lineage: bytes | None = None
        self._load_lineage = lineage
        self._loading: asyncio.Task[None] | None = None
        self._started: RunStarted | None = None
        self._dispatcher = dispatcher
        self._segments: list[bytes] = []
        self._codec: Codec | None = None
        self._events: list[bytes] = []
        self._end: RunCompleted | None = None
        self._ends: list[int] = []
        self._patches: list[str] = []
        self._done: set[int] = set()
        self._nanos: dict[int, int] = {}
        self._trace = base64.b64decode(identity.trace) if identity.trace is not None else None
        self._turn: TurnWork | None = None
        self._taker: Peer | None = None
        self._answered = ""
        self._after = ""
        self._known = 0

    # -- what the engine asks -------------------------------------------------------------------------------------

    def advance(self, at: int, events: Sequence[Any], done: Done) -> None:
        """Hand out a turn; `done` hears what its worker answers."""
        self._turn = TurnWork(self, [TurnStarted(at=at), *events], done)
        self._note_start(events)
        if self._load_lineage is not None and self._started is not None and self._started.propagation:
            self._loading = asyncio.get_running_loop().create_task(self._submit_with_lineage(self._turn))
        else:
            self._dispatcher.submit(self._turn)

    def _note_start(self, events: Sequence[Any]) -> None:
        if self._started is None:
            self._started = next((event for event in events if isinstance(event, RunStarted)), None)

    async def _submit_with_lineage(self, turn: TurnWork) -> None:
        """Hand the turn out once it is known what the parent hands on, which is read once."""
        started, load = self._started, self._load_lineage
        assert started is not None
        assert load is not None
        self._load_lineage = None
        parent, scope = started.parent, started.propagation or 0
        try:
            if parent is not None:
                app = parent.app or self.identity.app
                self.lineage = await load(app, parent.instance, parent.number, scope)
        except PerdureError:
            log.exception("what %s is handed on of its parent's history cannot be read", turn.instance)
            self._load_lineage = load
            if self._turn is turn:
                turn.fail()
            return
        if self._turn is turn:
            self._dispatcher.submit(turn)

    def retract(self) -> bool:
        """Take back the turn that is with a worker, or waits for one."""
        turn, self._turn = self._turn, None
        if turn is None:
            return False
        self._after = ""  # because its worker may have taken it, and is ahead of history then
        self._dispatcher.withdraw(turn)
        return True

    def expects(self, token: str) -> bool:
        return self._turn is not None and self._turn.token == token

    def answer(self, answered: TurnAnswered) -> None:
        """Take what came by way of another node. Bytes that cannot be read leave the turn to its lease."""
        found = self._dispatcher.peek(answered.token)
        if found is None:
            return
        work, stream = found
        assert isinstance(work, TurnWork)
        try:
            grant = _granted(stream.app, answered.apps) if stream.is_relay else stream.grant
            work.take(stream.codec.read_turn_result(answered.answer), self._dispatcher, grant)
        except MalformedMessage as error:
            log.warning("the answer to a turn of %s cannot be read, so its lease decides: %s", work.instance, error)

    def replay(self, history: Sequence[Sequence[Any]], gate: Gate) -> Stall | None:
        """The code is elsewhere, and is brought there by its own SDK."""
        for segment in history:
            gate.pass_through(segment)
            self.settled(segment, encode_segment(list(segment)))
        return None

    def settled(self, events: Sequence[Any], segment: bytes | None) -> None:
        """Keep what history gets."""
        if segment is None:
            return
        self._segments.append(segment)
        self._note_start(events)
        self._end = next((event for event in events if isinstance(event, RunCompleted)), None)
        self._patches.extend(patch for event in events for patch in getattr(event, "patches", None) or ())
        self._done.update(event.number for event in events if isinstance(event, (EventSent, DetachedCreated)))
        if self._answered:
            self._after, self._known, self._answered = self._answered, len(self._segments), ""

    def begun(self) -> RunStarted | None:
        """The start in its history."""
        first = decode_segment(self._segments[0]) if self._segments else ()
        return next((event for event in first if isinstance(event, RunStarted)), None)

    def listening(self) -> dict[int, str]:
        """What code elsewhere listens for it keeps to itself."""
        return {}

    def close(self) -> None:
        self.retract()
        if self._loading is not None:
            self._loading.cancel()
        self._dispatcher.forget(self)
        if self._end is not None:
            # in the words of Dapr's sidecar, because scripts and tests of its applications wait for them
            status = f"ORCHESTRATION_STATUS_{self._end.status.upper()}"
            log.info("workflow completed with status '%s' workflowName '%s'", status, self.identity.name)
            self._end = None

    # -- what its turns ask ---------------------------------------------------------------------------------------

    def past(self, codec: Codec) -> list[bytes]:
        """The history as workers of a codec are shown it."""
        if self._codec is not codec:
            self._codec, self._events, self._ends = codec, [], []
        # only now, because nobody asks for the last turn of a run
        for segment in self._segments[len(self._ends) :]:
            self._events.extend(self.encoded(codec, decode_segment(segment)))
            self._ends.append(len(self._events))
        return self._events

    def encoded(self, codec: Codec, events: Sequence[Any]) -> list[bytes]:
        """Events as workers of a codec are shown them."""
        if not _TIMED.isdisjoint(map(type, events)):
            events = [self._exact(event) for event in events]
        return codec.history_for_work(events, self.identity.instance, self.execution, self.identity.app)

    def _exact(self, event: Any) -> Any:
        """A timer that fires does so at the very time that was asked for, of which its wait has no nanoseconds."""
        if type(event) is TimerCreated and event.due_nanos:
            self._nanos[event.number] = event.due_nanos
        elif type(event) is TimerFired and event.number in self._nanos:
            return msgspec.structs.replace(event, due_nanos=self._nanos[event.number])
        return event

    def lived_through(self, peer: Peer) -> tuple[str, int]:
        """The run's last turn, by its token, if this worker took it and it is settled, and how many events of `past`
        led there.

        A worker whose code ended with that turn needs only what came after.
        """
        is_same, self._taker = self._taker is peer, peer
        return (self._after, self._ends[self._known - 1]) if is_same and self._after else ("", 0)

    def ended(self, turn: TurnWork, result: TurnResult, token: str, grant: Grant) -> None:
        """A worker has answered the turn, which it had under this token; the apps that it may call are in `grant`."""
        if self._turn is not turn:
            return
        self._turn = None
        self._after, self._answered = "", token
        self._trace = result.trace or self._trace
        taken = take(result, self._patches, self._done)
        if not isinstance(taken, Stall):
            taken = [*turn.beginning, *turn.answers, *permitted(taken, self.identity.app, grant.covers)]
            if self._codec is not None and self._codec.flavour is Flavour.MICROSOFT:
                taken = inherited(taken, self.identity.version)
            elif self._codec is not None and self._codec.flavour is Flavour.PERDURE:
                taken = tagged(taken, self.identity.name)
            for action in taken:
                if action.denied is not None:
                    log.warning("%s of %s is refused: %s", type(action).__name__, turn.instance, action.denied.message)
        turn.done(taken)
        self._answered = ""  # because a turn that is not settled by now has not happened

    @property
    def trace(self) -> bytes | None:
        return self._trace

    def __repr__(self) -> str:
        identity = self.identity
        return f"<RemoteRun {identity.name} {identity.instance}: {len(self._segments)} turns, {self._turn!r}>"


def _granted(app: str, apps: Sequence[str] | None) -> Grant:
    """What the worker of another server may do, as that has told."""
    return Grant(app, None if apps is None else frozenset((app, *apps)))
