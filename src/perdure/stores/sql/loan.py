"""A transaction of the store that is lent to a caller's own statements: how long, and what it ends with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self, TypeVar

from perdure.errors import InvalidArgument
from perdure.stores.sql.connection import Connection

T = TypeVar("T")
OWN_PREFIX = "perdure_"
"""Tables whose names begin so are the store's."""


class Loan:
    """What the guests of all dialects have in common. `lender` is the connection whose transaction it is."""

    def __init__(self, lender: Connection) -> None:
        self.lender = lender
        self._obstacle: Exception | None = None
        self._is_over = False

    def lend(self, work: Callable[[Self], T]) -> T:
        """Let `work` use the transaction until it returns.

        Raises what the database itself has met, whatever the work has made of it, and InvalidArgument if the
        transaction cannot be committed any more because of what the work did.
        """
        try:
            result = work(self)
        except Exception:
            if self._obstacle is not None:
                raise self._obstacle from None
            raise
        finally:
            self._is_over = True
        self._check()
        return result

    def _check(self) -> None:
        """Raises what keeps the transaction from being committed."""
        if self._obstacle is not None:
            raise self._obstacle

    def _check_lent(self) -> None:
        if self._is_over:
            raise InvalidArgument("the transaction step has ended; do all that it writes before it returns")
