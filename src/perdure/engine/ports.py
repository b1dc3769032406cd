"""What the engine needs of whoever runs user code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from perdure.codec import Payload
from perdure.history.actions import Action
from perdure.history.delivery import Gate
from perdure.history.options import Limits
from perdure.history.work import Attempt, Identity, Outcome, Outlet, Stall


class LiveRun(Protocol):
    """A run's code, wherever it lives."""

    def advance(self, at: int, events: Sequence[Any], done: Callable[[list[Action] | Stall], None]) -> None:
        """Deliver the events of a turn; call `done`, now or later, with what the code asked for or why it could not."""

    def replay(self, history: Sequence[Sequence[Any]], gate: Gate) -> Stall | None:
        """Bring new code to where the events of `history`, by segment, lead; what stands against it."""

    def listening(self) -> dict[int, str]:
        """The external events that the code waits for, by the number of the wait; upper and lower case are one."""

    def close(self) -> None:
        """Put the code away without recording anything."""


class Executor(Protocol):
    """Runs the code of one app."""

    def fingerprint(self, name: str, version: str | None) -> str | None:
        """Names the code of a workflow; None if it is not here."""

    def queues(self) -> Mapping[str, Limits]:
        """The limits of the queues that the code declares, by name."""

    def open(self, identity: Identity, is_new: bool) -> LiveRun | Stall:
        """New code for a run, at its beginning. One that `is_new` and names no version takes the latest."""

    def attempt(
        self, work: Attempt, beat: Callable[[Payload | None], None], outlet: Callable[[], Outlet]
    ) -> Awaitable[Outcome | Stall]:
        """Run one attempt in the calling task; `beat` takes its heartbeats, from any thread.

        `outlet` gives, to an activity that yields, the place where its items go.

        A Stall means that its payloads cannot be read or written here: the run stands still until they can.

        Cancelling the task cancels the attempt: a coroutine at once, a thread when it looks.
        """

    async def rest(self, seconds: float) -> None:
        """Return when no turn is under way that has yet to say what its code asked for, or after `seconds`."""
