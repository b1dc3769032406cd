"""External events of one run: who waits for which name, and what came before anybody did."""

from __future__ import annotations

from collections import deque

from perdure.errors import MailboxFull
from perdure.history.events import EventRaised
from perdure.sdk.loop import Future

EARLY_EVENTS_MAX = 10_000
"""External events that a run keeps for code that does not wait for them yet; with more of them it stands still."""


class Inbox:
    """First come, first served, by name; upper and lower case do not matter."""

    __slots__ = ("_early", "_listeners")

    def __init__(self) -> None:
        self._early: dict[str, deque[EventRaised]] = {}
        self._listeners: dict[str, deque[tuple[int, Future]]] = {}

    def take(self, name: str) -> EventRaised | None:
        """The oldest event of that name that nobody has taken."""
        key = name.casefold()
        early = self._early.get(key)
        if not early:
            return None
        event = early.popleft()
        if not early:
            del self._early[key]
        return event

    def listen(self, name: str, number: int, future: Future) -> None:
        """Give the next event of that name to `future`, the run's wait `number`."""
        self._listeners.setdefault(name.casefold(), deque()).append((number, future))

    def stop_listening(self, name: str, number: int, future: Future) -> bool:
        """The wait is cancelled; whether it was still open. An event that it was just given goes back."""
        listeners = self._listeners.get(name.casefold())
        if listeners is not None and (number, future) in listeners:
            listeners.remove((number, future))
            return True
        if future.done() and not future.cancelled():
            self._early.setdefault(name.casefold(), deque()).appendleft(future.result())
        return False

    def close(self) -> None:
        """Nobody listens any more: what arrives is kept."""
        self._listeners.clear()

    def arrive(self, event: EventRaised) -> int | None:
        """Hand the event to who waits for it longest; that wait's number, None if it is kept."""
        key = event.name.casefold()
        listeners = self._listeners.get(key)
        while listeners:
            number, future = listeners.popleft()
            if not future.done():
                future.set_result(event)
                return number
        early = self._early.setdefault(key, deque())
        if len(early) >= EARLY_EVENTS_MAX:
            raise MailboxFull(f"{EARLY_EVENTS_MAX:,} events {event.name!r} wait and no code takes them")
        early.append(event)
        return None

    def untaken(self) -> list[EventRaised]:
        """The events that nobody has taken, by name, oldest first."""
        return [event for events in self._early.values() for event in events]

    def listening(self) -> dict[int, str]:
        """The open waits, by number, and the event that each is for, in lower case."""
        return {number: key for key, listeners in self._listeners.items() for number, _ in listeners}
