"""Transactions that a database undoes for the sake of others, and how often they are begun anew."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from perdure.errors import StoreUnavailable

TRIES_MAX = 10
"""How often a transaction is begun."""


class Undone(StoreUnavailable):
    """The database has undone the transaction for the sake of another one; nothing was written."""

    def __init__(self, place: object, error: Exception) -> None:
        super().__init__(
            f"{place} undid a transaction for the sake of others ({error}); try again: nothing was written"
        )


async def until_done(work: Callable[[], Awaitable[None]]) -> None:
    """Do a transaction again as long as it is undone. Raises Undone if that does not end."""
    for _ in range(TRIES_MAX - 1):
        try:
            await work()
        except Undone:
            continue
        return
    await work()
