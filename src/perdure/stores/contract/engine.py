"""What an engine is given, and what a store may offer beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from perdure.stores.contract.leases import Leases
from perdure.stores.contract.mail import Mail
from perdure.stores.contract.nodes import Lease
from perdure.stores.contract.store import Store
from perdure.stores.contract.turns import Outcome
from perdure.stores.contract.wake import Wake


@runtime_checkable
class Transactions(Protocol):
    """What a store offers whose transactions can carry a caller's own statements."""

    async def transact(self, lease: Lease, id: str, number: int, attempt: int, work: Callable[[Any], Mail]) -> Outcome:
        """Run `work` in one transaction with the delivery of the mail that it returns, which holds its result.

        `work` is called once, in a thread of the store, with the dialect's guest connection: what it changes happens
        with the mail or not at all. Condition: wait `number` of the instance is IN_FLIGHT at this attempt; it becomes
        ANSWERED. CONFLICT if it is not, FENCED as for `commit`; `work` is not called then. What `work` raises is
        raised, and nothing is written.
        """


@runtime_checkable
class Ledger(Protocol):
    """An append-only log for each app: entries are numbered from 1 without gaps, and never changed nor deleted.

    The number and digest of the last entry are kept apart from the entries. No lease is needed; an app need not be run.
    """

    async def audit(self, app: str, after: int, entries: Sequence[bytes], digest: str) -> bool:
        """Append JSON texts behind the entry `after`, and keep the last one's digest; durable when it returns.

        One atomic step. False, and nothing written, if `after` is not the number of the last entry.
        """

    async def audit_head(self, app: str) -> tuple[int, str]:
        """Number and digest of the last entry, as they are kept apart; (0, "") if there is none."""

    async def audited(self, app: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Entries with a number > `after`, by number, as they are."""


class EngineStore(Store, Leases, Wake, Protocol):
    """What an engine is given: the three protocols of one database."""
