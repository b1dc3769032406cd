"""The messages of one group that are in memory: which may be handled now, so that those of a key stay in order."""

from __future__ import annotations

import heapq
from collections import deque
from typing import NamedTuple

import msgspec

from perdure.history.events import MessagePublished
from perdure.history.topic_log import Group, Page, Pending, page_of, placed, position_of, size_of

PENDING_MAX = 1_000
"""Messages that a group has come past and not done: in hand, waiting for their next attempt, or behind one that does.
Beyond it the group goes no further."""
PENDING_BYTES_MAX = 8 * 1024 * 1024
"""Likewise of their data; one message goes on however large it is."""
WINDOW_MESSAGES = 256
"""A line that has fewer messages ahead reads the next pages."""
WINDOW_BYTES = 4 * 1024 * 1024
"""Likewise of their data."""
READ_PAGES = 32
"""Pages that one read brings."""


class Taken(NamedTuple):
    """A message in hand; `failed` attempts before, and `unheard` ones, as `Pending` has them."""

    position: int
    message: MessagePublished
    failed: int = 0
    unheard: int = 0


class _Ahead(NamedTuple):
    position: int
    message: MessagePublished
    after: int


class Line:
    """One group's messages from the first that is not done on. It decides; it neither waits nor writes.

    `lent` are those in the hands of other nodes when it is made. Those before `end` were there then, so the last owner
    may have died with them in hand: they are *doubtful*, and to be noted before they are handed out.
    """

    __slots__ = (
        "_ahead",
        "_ahead_bytes",
        "_bytes",
        "_doubtful",
        "_doubts_left",
        "_due",
        "_end",
        "_held",
        "_in_hand",
        "_known",
        "_lent",
        "_missing",
        "_ready",
        "next",
        "page",
    )

    def __init__(self, group: Group, lent: frozenset[int] = frozenset(), end: int = 0) -> None:
        self.next = group.next
        """The first position that it has not come past."""
        self.page = page_of(group.next)
        """The page that it needs next."""
        self._missing = {one.position: one for one in group.pending}
        self._lent = lent
        self._end = end
        self._doubtful: set[int] = set()
        self._doubts_left = PENDING_MAX  # because nobody had come past more
        self._known: dict[int, Taken] = {}
        self._held: dict[str, deque[int]] = {}
        self._ready: deque[int] = deque()
        self._due: list[tuple[int, int]] = []
        self._in_hand: set[int] = set()
        self._ahead: deque[_Ahead] = deque()
        self._ahead_bytes = 0
        self._bytes = 0

    # -- what it needs of the log ---------------------------------------------------------------------------------

    @property
    def is_restored(self) -> bool:
        """Whether it has what the last owner had come past."""
        return not self._missing

    def wanted(self, end: int) -> list[int]:
        """The pages to be read now, of those before `end`."""
        if self._missing:
            return sorted({page_of(position) for position in self._missing})[:READ_PAGES]
        if len(self._ahead) >= WINDOW_MESSAGES or self._ahead_bytes >= WINDOW_BYTES:
            return []
        return list(range(self.page, min(end, self.page + READ_PAGES)))

    def feed(self, number: int, page: Page | None) -> None:
        """Take in a page that was wanted, None if it is not kept any more, or that is appended where the line ends."""
        if self._missing:
            self._restore(number, page)
        elif number == self.page:
            self.page += 1
            after = position_of(self.page)
            found = [one for one in placed(number, page) if one[0] >= self.next] if page is not None else []
            for position, message in found:
                self._ahead_bytes += size_of(message)
                self._ahead.append(_Ahead(position, message, position + 1 if position < found[-1][0] else after))
            if not found and not self._ahead:
                self.next = after

    def _restore(self, number: int, page: Page | None) -> None:
        found = dict(placed(number, page)) if page is not None else {}
        for position in sorted(position for position in self._missing if page_of(position) == number):
            pending = self._missing.pop(position)
            if position in found:
                self._doubtful.add(position)
                taken = Taken(position, found[position], pending.failed, pending.unheard)
                self._come_past(taken, pending.due)

    # -- whose turn it is -----------------------------------------------------------------------------------------

    def take(self, now: int) -> Taken | None:
        """A message that may be handled now, which is in hand from then on."""
        if self._missing:
            return None
        while self._due and self._due[0][0] <= now:
            self._ready.append(heapq.heappop(self._due)[1])
        while not self._ready and self._ahead and self._has_room():
            ahead = self._ahead.popleft()
            self._ahead_bytes -= size_of(ahead.message)
            self.next = ahead.after
            if ahead.position < self._end and self._doubts_left:
                self._doubts_left -= 1
                self._doubtful.add(ahead.position)
            self._come_past(Taken(ahead.position, ahead.message), 0)
        if not self._ready:
            return None
        position = self._ready.popleft()
        self._in_hand.add(position)
        return self._known[position]

    def _has_room(self) -> bool:
        return len(self._known) < PENDING_MAX and self._bytes < PENDING_BYTES_MAX

    def _come_past(self, taken: Taken, due: int) -> None:
        position, key = taken.position, taken.message.key
        self._known[position] = taken
        self._bytes += size_of(taken.message)
        if key is not None and key in self._held:
            self._held[key].append(position)
            return
        if key is not None:
            self._held[key] = deque()
        if position in self._lent:
            self._in_hand.add(position)
        elif due:
            heapq.heappush(self._due, (due, position))
        else:
            self._ready.append(position)

    def taken(self, position: int) -> Taken:
        """The message in hand at a position."""
        return self._known[position]

    def is_doubtful(self, position: int) -> bool:
        """Whether a process may have died with it in hand, and it has not been heard of since."""
        return position in self._doubtful

    def note(self, position: int) -> Taken:
        """A doubtful message in hand is handed out once this is written."""
        taken = self._known[position]
        self._known[position] = noted = taken._replace(unheard=taken.unheard + 1)
        return noted

    def give_back(self, position: int) -> None:
        """A message that was noted is not handled here after all, and no process has died of it."""
        taken = self._known[position]
        self._known[position] = taken._replace(unheard=taken.unheard - 1)
        self.put_back(position)

    def done(self, position: int) -> None:
        """A message in hand is done: the next one of its key may be handled."""
        taken = self._known.pop(position)
        self._in_hand.discard(position)
        self._doubtful.discard(position)
        self._bytes -= size_of(taken.message)
        key = taken.message.key
        if key is None:
            return
        behind = self._held[key]
        if behind:
            self._ready.append(behind.popleft())
        else:
            del self._held[key]

    def retry(self, position: int, due: int) -> None:
        """The handling of a message in hand has failed: it comes again when it is `due`, and its key waits for it."""
        taken = self._known[position]
        self._known[position] = taken._replace(failed=taken.failed + 1, unheard=0)
        self._in_hand.discard(position)
        self._doubtful.discard(position)
        heapq.heappush(self._due, (due, position))

    def unheard(self, position: int, deaths: int, due: int) -> None:
        """Nothing was heard of a message in hand: it comes again when it is `due`, and its key waits for it."""
        taken = self._known[position]
        self._known[position] = taken._replace(unheard=taken.unheard + deaths)
        self._in_hand.discard(position)
        heapq.heappush(self._due, (due, position))

    def put_back(self, position: int) -> None:
        """A message in hand was not handled after all; it is the next one again."""
        self._in_hand.discard(position)
        self._ready.appendleft(position)

    # -- how it stands --------------------------------------------------------------------------------------------

    @property
    def in_hand(self) -> int:
        return len(self._in_hand)

    @property
    def is_empty(self) -> bool:
        """Nothing is pending, and nothing lies ahead in memory."""
        return not (self._known or self._ahead or self._missing)

    @property
    def next_due(self) -> int | None:
        """When the next message is to be tried again."""
        return self._due[0][0] if self._due else None

    def standing(self, group: Group) -> Group:
        """The group as it is to be written."""
        due = {position: at for at, position in self._due}
        here = (
            Pending(position, taken.failed, due.get(position, 0), taken.unheard)
            for position, taken in self._known.items()
        )
        pending = sorted([*here, *self._missing.values()], key=lambda one: one.position)
        return msgspec.structs.replace(group, next=self.next, pending=tuple(pending))

    def __repr__(self) -> str:
        return f"<Line at {self.next}: {len(self._in_hand)} in hand of {len(self._known)}, {len(self._ahead)} ahead>"
