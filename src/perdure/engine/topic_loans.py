"""What a partition has lent to other nodes: which offered call stands for which message."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from perdure.history.draft import Draft
from perdure.history.loans import Loan, loan_of, wait_of
from perdure.history.topic_line import Taken
from perdure.stores.contract import OUT, Wait

log = logging.getLogger("perdure")


class Loans:
    """The offered calls of one partition, by number; each is in the store as a wait.

    One that is neither offered nor claimed was moved here from another store, whose nodes are no more: it is over.
    """

    __slots__ = ("_by_number", "_next", "_over", "_suspects")

    def __init__(self, waits: Iterable[Wait]) -> None:
        self._by_number: dict[int, tuple[str, int]] = {}
        self._suspects: set[int] = set()
        self._next = 1
        self._over: list[int] = []
        for wait in waits:
            self._next = max(self._next, wait.number + 1)
            if wait.state not in OUT:
                self._over.append(wait.number)
                continue
            try:
                loan = loan_of(wait.input)
            except ValueError as error:
                log.error("a message on loan cannot be read, so its group waits for it: %s", error)
                continue
            self._keep(wait.number, loan)

    def of(self, group: str) -> frozenset[int]:
        """The positions of a group's messages that are lent."""
        return frozenset(position for name, position in self._by_number.values() if name == group)

    def count(self, group: str) -> int:
        return sum(name == group for name, _ in self._by_number.values())

    @property
    def has_suspect(self) -> bool:
        """Whether one is lent with which a process has died."""
        return bool(self._suspects)

    def lend(self, draft: Draft, group: str, taken: Taken, timeout: float, deaths_max: int) -> None:
        """Offer a message with the turn."""
        number, self._next = self._next, self._next + 1
        loan = Loan(group, taken.position, taken.failed, timeout, taken.message, taken.unheard, deaths_max)
        self._keep(number, loan)
        draft.opened[number] = wait_of(loan, number, draft.at)

    def _keep(self, number: int, loan: Loan) -> None:
        self._by_number[number] = loan.group, loan.position
        if loan.unheard:
            self._suspects.add(number)

    def place(self, number: int) -> tuple[str, int] | None:
        """Group and position of a loan; None if it is over."""
        return self._by_number.get(number)

    def end(self, draft: Draft, number: int) -> None:
        """It is over with the turn."""
        del self._by_number[number]
        self._suspects.discard(number)
        draft.closed.append(number)

    def forget(self, draft: Draft, groups: Iterable[str]) -> bool:
        """Put away those that are over, as are those of groups that are there no more; whether there was any."""
        known = frozenset(groups)
        for number in [number for number, (group, _) in self._by_number.items() if group not in known]:
            del self._by_number[number]
            self._suspects.discard(number)
            self._over.append(number)
        over, self._over = self._over, []
        draft.closed += over
        return bool(over)

    def __repr__(self) -> str:
        return f"<{len(self._by_number)} loans>"
