"""What follows from a turn that the store did not take: what its askers hear, and whether the instance stands still."""

from __future__ import annotations

from perdure.errors import InstanceExists, StoreError, StoreFull
from perdure.history.work import Stall
from perdure.stores.contract import Outcome


def stall_of(outcome: Outcome) -> Stall | None:
    """Why the instance stands still after this outcome; None if it does not."""
    return _STALLS.get(outcome)


def refusal_of(outcome: Outcome, id: str) -> Exception | None:
    """What those hear whose messages cannot be taken; None if another try may do."""
    match outcome:
        case Outcome.EXISTS:
            return already_exists(id)
        case Outcome.TOO_LARGE | Outcome.UNWRITABLE:
            return StoreError(f"what instance {id!r} was to keep cannot be written; the log has the error")
        case Outcome.NO_ROOM:
            return StoreFull(f"the store has no room for instance {id!r}; free some, then start it again")
        case _:
            return None


def already_exists(id: str) -> InstanceExists:
    return InstanceExists(f"instance {id!r} exists and is not finished; use another id, or if_exists='return'", id)


_STALLS = {
    Outcome.TOO_LARGE: Stall(
        "turn-too-large",
        "a turn is larger than the store can take; pass addresses of large values, or fewer of them at once",
    ),
    Outcome.UNWRITABLE: Stall(
        "turn-not-writable",
        "the store failed at writing a turn; the log has the error, which is a defect of Perdure worth reporting",
    ),
}
