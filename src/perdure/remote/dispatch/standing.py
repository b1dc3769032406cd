"""How it is said where a piece of work is: with a worker, in line for one, or nowhere as there is none for it."""

from __future__ import annotations

from perdure.history.state import Standing
from perdure.remote.dispatch.work import Kind, Need

STOPPING = Standing("stopping", "the server is stopping and hands out nothing more")
_NOUNS = {Kind.TURN: "workflow", Kind.ACTIVITY: "activity", Kind.ENTITY: "entity"}


def with_worker(worker: str, left: float, lease: float) -> Standing:
    """A worker, by the name that it gave, has it. Seconds: those that are left of its lease, and all of it."""
    who = f"the worker {worker}" if worker else "a worker"
    since = max(lease - left, 0.0)
    return Standing(
        "with-worker",
        f"{who} was last heard of it {since:,.0f} s ago; without a word it goes to another in {max(left, 0.0):,.0f} s, "
        "or when its connection ends",
    )


def lent(since: float) -> Standing:
    """It was handed to other servers, seconds ago."""
    return Standing(
        "lent",
        "no worker that is connected here has its code, so it was offered to the servers whose workers have it, "
        f"{max(since, 0.0):,.0f} s ago",
    )


def given_back(left: float) -> Standing:
    """A worker did not want it. Seconds until the next may have it."""
    text = (
        f"a worker has given it back; it is handed out again in {max(left, 0.0):,.0f} s, or when another worker comes"
    )
    return Standing("given-back", text)


def nobody(need: Need, workers: int) -> Standing:
    """None of the app's `workers` has the code."""
    if not workers:
        return Standing("no-worker", f"no worker of app {need.app} is connected; start the program that has its code")
    has = "the only worker" if workers == 1 else f"none of the {workers:,} workers"
    verb = "has no" if workers == 1 else "has the"
    version = f" of version {need.version}" if need.version else ""
    what = f"workflow {need.workflow}" if need.workflow else f"{_NOUNS[need.kind]} {need.name}{version}"
    told = f"{has} of app {need.app} that is connected {verb} {what}"
    return Standing("no-code", told)


def own_alone(need: Need) -> Standing:
    """It is not for other servers, and none of this one's workers has the code."""
    what = f"{_NOUNS[need.kind]} {need.name}"
    told = f"{what} yields, which takes a worker at the server that owns its run, and none that is connected has it"
    return Standing("no-worker", told)


def in_line(place: int | None, length: int) -> Standing:
    """It waits until a worker has room. `place` None: it is still in the store, and those in line go first."""
    if place is not None:
        return Standing("no-room", f"it is number {place + 1:,} of {length:,} in line until a worker has room")
    if length:
        return Standing(
            "no-room", f"{length:,} pieces of work of its app are in line before it until a worker has room"
        )
    return Standing("turn", "it is about to be handed out")
