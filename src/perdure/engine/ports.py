"""What the engine needs of whoever runs user code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from perdure.codec import Payload
from perdure.history.actions import Action
from perdure.history.delivery import Gate
from perdure.history.events import RunStarted, TurnAnswered
from perdure.history.options import Limits, Place, Trace
from perdure.history.state import Standing
from perdure.history.traced import TracedRun
from perdure.history.work import Attempt, Batch, BatchResult, Identity, Outcome, Outlet, Stall
from perdure.stores.contract import Head, Wait


class LiveRun(Protocol):
    """A run's code, wherever it lives."""

    def advance(self, at: int, events: Sequence[Any], done: Callable[[list[Action] | Stall], None]) -> None:
        """Deliver the events of a turn; call `done`, now or later, with what the code asked for or why it could not."""

    def replay(self, history: Sequence[Sequence[Any]], gate: Gate) -> Stall | None:
        """Bring new code to where the events of `history`, by segment, lead; what stands against it."""

    def retract(self) -> bool:
        """Take back a turn whose `done` was not called yet and now never will be; whether there was one."""

    def expects(self, token: str) -> bool:
        """Whether the turn that is under way was handed out under this token."""

    def answer(self, answered: TurnAnswered) -> None:
        """Take the answer to that turn, which came by way of another node."""

    def settled(self, events: Sequence[Any], segment: bytes | None) -> None:
        """A turn is decided: the events that history gets of it, and their form in the store, None for no segment."""

    def begun(self) -> RunStarted | None:
        """How history says that the run began, if that is at hand."""

    def listening(self) -> dict[int, str]:
        """The external events that the code waits for, by the number of the wait; upper and lower case are one."""

    def close(self) -> None:
        """Put the code away without recording anything."""


class LiveBatch(Protocol):
    """Operations of an entity that its code has under way."""

    def retract(self) -> None:
        """Take them back; `done` is never called."""

    def expects(self, token: str) -> bool:
        """Whether they were handed out under this token."""

    def answer(self, answered: TurnAnswered) -> None:
        """Take their answer, which came by way of another node."""


class Tracing(Protocol):
    """Decides which runs are traced, and makes their spans when they have ended."""

    def begin(self, execution: str) -> Trace | None:
        """What a run is told that is part of no trace; None if it is not traced."""

    def ended(self, run: TracedRun, segments: Sequence[bytes]) -> None:
        """A run is over, and its history is this, by segment."""


class Attempter(Protocol):
    """What it takes to make attempts, for runs of whichever node; see `Executor`."""

    is_remote: bool

    def activities(self) -> Collection[str]: ...
    def room(self) -> int | None: ...
    def attempt(
        self, work: Attempt, beat: Callable[[Payload | None], None], outlet: Callable[[], Outlet]
    ) -> Awaitable[Outcome | Stall | None]: ...


class Borrower(Attempter, Protocol):
    """Does work that other nodes lend, each as an attempt of an offered call; see `history/lending.py`."""

    def takes(self) -> Sequence[str]:
        """The kinds of work that the workers here take, as nodes tell them, those first that are lent most."""


class Executor(Protocol):
    """Runs the code of one app.

    `is_remote`: elsewhere, so that a turn takes its time; what comes meanwhile is made durable as mail at once.
    `is_ready`: a turn would be taken soon; else what needs code rests in the store (see `Shard.rouse`).
    """

    is_remote: bool
    is_ready: bool

    def gate(self) -> Gate:
        """What lets events through to the code of a run, or keeps them back while it is suspended."""

    def fingerprint(self, name: str, version: str | None) -> str | None:
        """Names the code of a workflow; None if it is not here."""

    def queues(self) -> Mapping[str, Limits]:
        """The limits of the queues that the code declares, by name."""

    def place(self, name: str, version: str | None) -> Place | None:
        """Where runs of a workflow wait for a slot, as its code declares; None: nowhere, or the code is not here."""

    def workflows(self) -> Collection[str]:
        """Names of the workflows whose code is here, as far as that is known."""

    def activities(self) -> Collection[str]:
        """Names of the activities whose attempts may be made here for any node's runs: neither what yields nor
        transactions, which belong to the owner of the run."""

    def room(self) -> int | None:
        """How many attempts more would begin at once, of which fewer than none have to wait. None: any number."""

    def open(self, identity: Identity, is_new: bool) -> LiveRun | Stall:
        """New code for a run, at its beginning. One that `is_new` and names no version takes the latest."""

    def attempt(
        self, work: Attempt, beat: Callable[[Payload | None], None], outlet: Callable[[], Outlet]
    ) -> Awaitable[Outcome | Stall | None]:
        """Run one attempt in the calling task; `beat` takes its heartbeats, from any thread.

        None: how it ended lies in the run's mailbox already.

        `outlet` gives, to an activity that yields, the place where its items go.

        A Stall means that its payloads cannot be read or written here: the run stands still until they can.

        Cancelling the task cancels the attempt: a coroutine at once, a thread when it looks.
        """

    def operate(self, batch: Batch, done: Callable[[BatchResult | Stall], None]) -> LiveBatch | None:
        """Run operations of an entity; call `done`, now or later, with what became of them. None: there is no code for
        entities here.

        They are run again if the node dies before their turn is durable. A stall: none of them was run, and the
        entity is to stand still.
        """

    def standing(self, head: Head, wait: Wait | None) -> Standing | None:
        """Where the activity `wait` of an instance is, or, without one, its turn. None: its code is in this process."""

    async def rest(self, seconds: float) -> None:
        """Return when no turn is under way that has yet to say what its code asked for, or after `seconds`."""
