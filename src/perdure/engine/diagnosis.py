"""Why an instance is not finished, from its head and waits: one sentence, since when, and what moves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from perdure.clock import to_datetime
from perdure.engine.queues import queued_calls
from perdure.history.events import Failure
from perdure.history.options import Place
from perdure.history.queued import limits_told, place_told
from perdure.history.state import Explanation
from perdure.scheduler.line import Ticket, in_order
from perdure.stores.contract import (
    ADMITTED,
    FINISHED,
    QUEUED,
    EngineStore,
    Head,
    OpenCall,
    Status,
    Suspect,
    Wait,
    WaitKind,
)

DEPTH_MAX = 20
HOLDERS_SHOWN = 3
"""How many children down the cause is followed."""

SUSPICIOUS_DEATHS = 2
"""From how many deaths running on a suspicion is worth telling."""


async def explain(
    store: EngineStore, app: str, shard_of: Callable[[str], int], head: Head, depth: int = 0
) -> Explanation:
    """Follow the waits of an instance, and of the children it waits for, to what holds it."""
    told = of_head(head)
    if told is not None:
        return told
    suspects = await store.suspects(shard_of(head.id))
    suspect = next((suspect for suspect in suspects if suspect.instance == head.id), None)
    return with_suspicion(await _of_unhalted(store, app, shard_of, head, depth), suspect)


async def _of_unhalted(
    store: EngineStore, app: str, shard_of: Callable[[str], int], head: Head, depth: int
) -> Explanation:
    waits = await store.waits(shard_of(head.id), head.id)
    told = of_pending(head, waits, await store.holder(app))
    queued = next((wait for wait in waits if wait.state == QUEUED and not _is_retried(wait)), None)
    if queued is not None and (told is None or told.cause == "pending"):
        return of_queued(head, queued, await queued_calls(store, shard_of(head.id)))
    if told is not None:
        return told
    child = next((wait for wait in waits if wait.kind == "child" and wait.on), None)
    if child is not None and child.on is not None and depth < DEPTH_MAX:
        below = await store.head(shard_of(child.on), child.on)
        if below is not None:
            cause = await explain(store, app, shard_of, below, depth + 1)
            sentence = f"{_who(head)} waits for its child {child.on}{_at(child)}, and {cause.sentence}"
            return _tell(head, cause.cause, sentence, child.since, cause.command)
    return of_waits(head, waits)


def of_head(head: Head) -> Explanation | None:
    """Causes that the head alone tells."""
    if head.status in FINISHED:
        return _tell(head, "finished", f"{_who(head)} is {head.status}.", head.finished, None)
    if head.stalled is not None:
        halt = head.stalled
        where = f" at {halt.line}" if halt.line else ""
        text = f"{_who(head)} stands still ({halt.reason}){where}: {halt.description}"
        return _tell(head, f"stalled:{halt.reason}", text, halt.since, f"perdure resume {head.id}")
    if head.suspended is not None:
        halt = head.suspended
        why = f" ({halt.reason})" if halt.reason else ""
        return _tell(head, "suspended", f"{_who(head)} was suspended{why}.", halt.since, f"perdure resume {head.id}")
    return None


def with_suspicion(told: Explanation, suspect: Suspect | None) -> Explanation:
    """Add that it may have to wait for others before it runs alone."""
    if suspect is None or suspect.deaths < SUSPICIOUS_DEATHS:
        return told
    text = f"{told.sentence} Its owners died {suspect.deaths} times running while it was in flight, so suspects run"
    return msgspec.structs.replace(told, sentence=f"{text} one by one and it may have to wait its turn.")


def of_pending(head: Head, waits: list[Wait], holder: str | None) -> Explanation | None:
    """Why an instance has not begun."""
    if head.status != Status.PENDING:
        return None
    start = next((wait for wait in waits if wait.kind == "start" and wait.due is not None), None)
    if start is not None and start.due is not None:
        return _tell(head, "start-time", f"{_who(head)} starts at {_time(start.due)}.", start.since, None)
    owner = f"its owner {holder} has not taken it up yet" if holder else "no process runs its app"
    return _tell(
        head, "pending", f"{_who(head)} has not begun: {owner}.", head.created, f"perdure worker MODULE:{head.app}"
    )


def of_queued(head: Head, wait: Wait, calls: list[OpenCall]) -> Explanation:
    """For whose slot it waits, how many are before it, and who has the slots."""
    places = {(call.instance, call.wait.number): place_told(call) for call in calls}
    place = places.get((head.id, wait.number))
    if place is None:
        return _tell(head, "queue", f"{_who(head)} has just left its queue.", wait.since, None)
    others = [call for call in calls if _in_queue(places, call) == place.queue]
    holders = [f"{call.wait.name} of {call.instance}" for call in others if call.wait.state == ADMITTED]
    who = "nobody has a slot" if not holders else f"slots are held by {', '.join(holders[:HOLDERS_SHOWN])}"
    if len(holders) > HOLDERS_SHOWN:
        who += f" and {len(holders) - HOLDERS_SHOWN} more"
    what = "to begin" if wait.kind == WaitKind.START else f"with activity {wait.name}{_at(wait)}"
    key = f" for {place.key!r}" if place.key else ""
    number, line = _position(others, places, (head.id, wait.number))
    text = (
        f"{_who(head)} waits {what} in queue {place.queue}{key}, number {number} of {line} "
        f"({limits_told(place.limits)}); {who}."
    )
    return _tell(head, "queue", text, wait.since, "perdure queues")


def _in_queue(places: Mapping[tuple[str, int], Place | None], call: OpenCall) -> str | None:
    place = places[call.instance, call.wait.number]
    return None if place is None else place.queue


def _position(
    calls: list[OpenCall], places: Mapping[tuple[str, int], Place | None], of: tuple[str, int]
) -> tuple[int, int]:
    """Where a wait stands in its line if nobody else comes, and how many stand there."""
    tickets = [
        Ticket((call.instance, "", 0, call.wait.number), place.key, place.priority, call.wait.since)
        for call in calls
        if call.wait.state == QUEUED and (place := places[call.instance, call.wait.number]) is not None
    ]
    order = [(ticket.address[0], ticket.address[3]) for ticket in in_order(tickets)]
    return order.index(of) + 1, len(order)


def _is_retried(wait: Wait) -> bool:
    return wait.due is not None and wait.failure is not None


def of_waits(head: Head, waits: list[Wait]) -> Explanation:
    """What a running instance waits for, the most telling wait first."""
    if head.kind == "schedule":
        return of_schedule(head, waits)
    for kind in ("activity", "event", "timer", "child"):
        wait = next((wait for wait in waits if wait.kind == kind), None)
        if wait is not None:
            cause, sentence, command = _OF_WAIT[kind](head, wait)
            others = len(waits) - 1
            more = f" ({others} more waits)" if others else ""
            return _tell(head, cause, f"{_who(head)} {sentence}{_at(wait)}{more}.", wait.since, command)
    return _tell(head, "turn", f"{_who(head)} waits for nothing: a turn of it is under way.", head.updated, None)


def of_schedule(head: Head, waits: list[Wait]) -> Explanation:
    """When a schedule ticks next; it is never finished, and waits for commands all the time."""
    due = next((wait.due for wait in waits if wait.kind == "timer" and wait.due is not None), None)
    sentence = f"sleeps until {_time(due)}" if due is not None else "has no tick ahead, or is paused"
    command = f"perdure schedule show {head.id.removeprefix('schedule:')}"
    return _tell(head, "schedule", f"{_who(head)} {sentence}.", head.updated, command)


def _of_activity(head: Head, wait: Wait) -> tuple[str, str, str | None]:
    if wait.due is not None and wait.failure is not None:
        failure = msgspec.json.decode(wait.failure, type=Failure)
        last = f"attempt {wait.attempt}; last error {failure.type}: {failure.message}"
        text = f"waits to try activity {wait.name} again at {_time(wait.due)} ({last})"
        return "retry", text, None
    return "activity", f"waits for activity {wait.name}, attempt {wait.attempt}", f"perdure cancel {head.id}"


def _of_event(head: Head, wait: Wait) -> tuple[str, str, str | None]:
    return (
        "event",
        f"waits for the event {wait.name!r} that nobody has sent",
        f"perdure raise {head.id} {wait.name} DATA",
    )


def _of_timer(head: Head, wait: Wait) -> tuple[str, str, str | None]:
    return "timer", f"sleeps until {_time(wait.due or 0)}", None


def _of_child(head: Head, wait: Wait) -> tuple[str, str, str | None]:
    return "child", f"waits for its child {wait.on}", f"perdure explain {wait.on}"


_OF_WAIT = {"activity": _of_activity, "event": _of_event, "timer": _of_timer, "child": _of_child}


def _tell(head: Head, cause: str, sentence: str, since: int | None, command: str | None) -> Explanation:
    when = to_datetime(since) if since is not None else None
    return Explanation(instance=head.id, cause=cause, sentence=sentence, since=when, command=command)


def _who(head: Head) -> str:
    return f"{head.name} {head.id}"


def _at(wait: Wait) -> str:
    return f" at {wait.line}" if wait.line else ""


def _time(at: int) -> str:
    return to_datetime(at).strftime("%Y-%m-%d %H:%M:%S UTC") if at < 253_402_300_799_000_000 else "the end of time"
