"""What the refusal of an SQL database means to whoever keeps values in it, in the same words for each."""

from __future__ import annotations

from perdure.errors import StoreFull, StoreNotUsable, StoreUnavailable


def full(place: object, error: Exception) -> StoreFull:
    return StoreFull(f"{place} has no room left ({error}); nothing was written")


def refused(place: object, error: Exception) -> StoreNotUsable:
    """It does not let this user in, or is not there."""
    return StoreNotUsable(f"{place} refuses a state store ({error}); put its address, or its user's rights, right")


def unanswered(place: object, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(
        f"{place} gives no answer ({error or type(error).__name__}); whether a write happened is not known"
    )
