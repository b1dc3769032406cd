"""Which cause it is: pure decisions over what was seen, the first one that fits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from perdure.clock import SECOND
from perdure.codec import Example
from perdure.engine.diagnosis.causes import CAUSES, NOTHING, STALLED
from perdure.engine.diagnosis.near import near_miss
from perdure.engine.diagnosis.sight import Finding, Reference, Sight
from perdure.engine.diagnosis.takers import elsewhere
from perdure.engine.diagnosis.words import TEXT_CHARACTERS_MAX, counted, listed, shown, span, time
from perdure.engine.workflow_slots import WorkflowSlots
from perdure.history.delayed import LOCK
from perdure.history.entities import EntityQueue
from perdure.history.events import Failure
from perdure.history.nodes import about_of, slots_told
from perdure.history.options import Place, app_of, example_in, place_of
from perdure.history.queued import limits_told, place_told
from perdure.history.state import Standing
from perdure.scheduler.limiter import Ticket, in_order
from perdure.stores.contract import (
    ADMITTED,
    CLAIMED,
    ENTITY,
    FINISHED,
    LOCKED,
    OFFERED,
    QUEUED,
    OpenCall,
    Status,
    Wait,
    WaitKind,
)

LATE_SECONDS = 10.0
"""How long messages may wait for a living owner before that is worth telling."""
SLOW_COMMIT_SECONDS = 5.0
"""How long a commit may be under way before that is."""
SKEW_SECONDS = 60.0
"""By how much a turn may be dated ahead before clocks are said to disagree."""
FAR_SECONDS = 30 * 86_400.0
"""From how far ahead a time to wake at is worth a doubt."""
LONG_SECONDS = 300.0
"""How long an activity may run, where its workflow has no history to compare with, before that is long."""
LONG_FACTOR = 2
"""How many times the 95th percentile of whole runs an activity may take, where there is one."""
LONG_SECONDS_MIN = 1.0
"""What is shorter is never called long."""
USUAL_COUNT_MIN = 5
"""Of how many instances at least a comparison is worth something."""
RESTARTS_MIN = 20
"""From how many generations on a run that goes on anew is looked at."""
RESTART_SECONDS_MAX = 0.5
"""How long a generation may last on the average for that to be without progress."""
RECENT_SECONDS = 10.0
"""A run whose last turn is older is not one that goes round."""
SUSPICIOUS_DEATHS = 2
"""From how many deaths running on a suspicion is worth telling."""
WAITS_LOOKED_MAX = 200
"""Of an instance's waits, how many are looked at for the most telling one."""
CHILDREN_FOLLOWED_MAX = 50
"""Of those that an instance waits for, how many are looked at."""


def find(sight: Sight) -> Finding:
    """The cause for which an instance is not finished, as far as it can be seen from here."""
    for look in _LOOKS:
        found = look(sight)
        if found is not None:
            return found
    return _idle(sight)


def overlaid(sight: Sight, found: Finding, rest: str) -> Finding:
    """What changes a finding as a whole: a parent that is gone, a suspicion. `rest` is the sentence so far."""
    parent, suspect = sight.parent, sight.scene.suspect
    row = CAUSES.get(found.cause)
    facts = {**found.facts, "rest": rest}
    if suspect is not None and suspect.deaths >= SUSPICIOUS_DEATHS and found.cause in _UNDER_SUSPICION:
        return msgspec.structs.replace(found, cause="suspect", facts={**facts, "deaths": str(suspect.deaths)})
    is_left = parent is not None and parent.status in FINISHED and row is not None and row.is_normal
    if is_left and parent is not None and found.cause in _WORTH_NOTHING_ALONE:
        facts.update(parent=shown(f"{parent.name} {parent.id}"), status=str(parent.status))
        return msgspec.structs.replace(found, cause="parent-finished", facts=facts)
    return found


_UNDER_SUSPICION = frozenset(("activity", "activity-long", "turn", "pending", "retry", "late"))
_WORTH_NOTHING_ALONE = frozenset(
    ("event", "decision", "event-unnamed", "timer", "timer-far", "activity", "queue", "start-time")
)
"""Causes that are beside the point once nobody needs the result."""


# -- what the head tells ----------------------------------------------------------------------------------------------


def _finished(sight: Sight) -> Finding | None:
    head = sight.head
    if head.status not in FINISHED:
        return None
    return Finding(cause="finished", facts={"status": str(head.status)}, since=head.finished)


def _stalled(sight: Sight) -> Finding | None:
    halt = sight.head.stalled
    if halt is None:
        return None
    at = f" at {shown(halt.line)}" if halt.line else ""
    text = shown(halt.description or "there is no description", TEXT_CHARACTERS_MAX).rstrip(".")
    facts = {"reason": shown(halt.reason), "at": at, "description": text}
    return Finding(cause=STALLED + halt.reason, facts=facts, since=halt.since, line=halt.line)


def _suspended(sight: Sight) -> Finding | None:
    halt = sight.head.suspended
    if halt is None or sight.resumes:
        return None
    by = halt.by or sight.suspended_by
    by = f" by {shown(by)}" if by else ""
    why = f" ({shown(halt.reason)})" if halt.reason else ""
    return Finding(cause="suspended", facts={"by": by, "why": why}, since=halt.since)


def _storeless(sight: Sight) -> Finding | None:
    """The store takes nothing, so that whatever it waits for may have come and lie in memory."""
    scene = sight.scene
    if scene.refusal is not None:
        why = shown(scene.refusal.why, TEXT_CHARACTERS_MAX).rstrip(".")
        return Finding(cause="store-refuses", facts={"why": why}, since=scene.refusal.since)
    if scene.full_since is not None:
        return Finding(cause="store-full", facts={"since": time(scene.full_since)}, since=scene.full_since)
    since = scene.committing_since
    if since is None or scene.now - since < SLOW_COMMIT_SECONDS * SECOND:
        return None
    return Finding(cause="store-slow", facts={"age": span(scene.now - since)}, since=since)


def _ahead(sight: Sight) -> Finding | None:
    head, now = sight.head, sight.scene.now
    if head.updated - now < SKEW_SECONDS * SECOND:
        return None
    due = min((wait.due for wait in sight.waits if wait.due is not None), default=None)
    next = f"it goes on at {time(due)} by the clock here" if due is not None else NOTHING
    facts = {"updated": time(head.updated), "age": span(head.updated - now), "next": next}
    return Finding(cause="clock-skew", facts=facts, since=head.created)


def _restarting(sight: Sight) -> Finding | None:
    head, now = sight.head, sight.scene.now
    seconds = max(head.updated - head.created, 1) / SECOND
    is_busy = head.generation >= RESTARTS_MIN and seconds / head.generation < RESTART_SECONDS_MAX
    waits = [wait for wait in sight.waits if wait.kind not in (WaitKind.TIMEOUT, WaitKind.QUEUE)]
    if not is_busy or waits or now - head.updated > RECENT_SECONDS * SECOND:
        return None
    facts = {"generations": f"{head.generation:,}", "pace": f"{head.generation / seconds:,.0f}"}
    return Finding(cause="restarts", facts=facts, since=head.created)


# -- before it has begun ----------------------------------------------------------------------------------------------


def _unbegun(sight: Sight) -> Finding | None:
    head, scene = sight.head, sight.scene
    if head.status != Status.PENDING:
        return None
    start = next((wait for wait in sight.waits if wait.kind == WaitKind.START), None)
    if start is not None and start.due is not None and start.due > scene.now:
        return Finding(cause="start-time", facts={"due": time(start.due)}, since=start.since)
    if start is not None and start.state == QUEUED:
        return queued(sight, start)
    if scene.slots is not None and scene.slots.waits(head.id):
        return _slotless(sight, scene.slots)
    what = "has its first operations to run" if head.kind == ENTITY else "has not begun"
    standing = _standing(sight, None)
    if standing is not None:
        return Finding(cause=standing.cause, facts=_stands(what, standing.sentence), since=head.created)
    if head.kind == ENTITY:
        return _unowned(sight, what, head.created)
    return _unowned(sight, "has not begun", head.created) or _pending(sight)


def _standing(sight: Sight, wait: Wait | None) -> Standing | None:
    """Where its turn, or an activity, is, as far as its owner or all servers together tell. None: its code is with its
    owner, or there is none."""
    standing = sight.scene.standing(wait)
    if standing is not None and standing.cause not in _OF_ONE_SERVER:
        return standing
    if standing is None and (sight.scene.is_owned or sight.scene.is_orphaned):
        return None
    return elsewhere(sight, wait) or standing


_OF_ONE_SERVER = ("no-code", "lent")
"""Causes of which a server knows its own part alone."""


def _slotless(sight: Sight, slots: WorkflowSlots) -> Finding:
    """Whose end it waits for, as its node begins no more at once."""
    head = sight.head
    holders = list(islice(slots.holders(head.name), CHILDREN_FOLLOWED_MAX + 1))
    facts = {
        "slots": f"{slots.bound(head.name):,}",
        "holders": f"slots are held by {listed(holders)}" if holders else "nobody has a slot",
    }
    behind = tuple(Reference(holder) for holder in holders[:CHILDREN_FOLLOWED_MAX])
    return Finding(
        cause="workflow-slots",
        facts=facts,
        since=head.created,
        behind=behind,
        link=("waits to begin for a workflow slot that ", " has"),
        is_shared=bool(behind) and len(holders) <= CHILDREN_FOLLOWED_MAX,
    )


def _pending(sight: Sight) -> Finding:
    head, scene = sight.head, sight.scene
    age = scene.now - head.created
    if age >= LATE_SECONDS * SECOND and not scene.is_owned:
        return _late(sight, 1, head.created)
    bound = slots_told(scene.nodes, head.name)
    slots = f"; a node has {bound} workflow slots for it, which may all be held" if bound is not None else ""
    facts = {"owner": shown(scene.holder or ""), "hint": _if_server(sight) + slots}
    return Finding(cause="pending", facts=facts, since=head.created)


# -- messages and due times that nobody has taken ---------------------------------------------------------------------


def _untaken(sight: Sight) -> Finding | None:
    """Why messages that an instance has, or timers that are due, have not been taken."""
    head, scene = sight.head, sight.scene
    dues = [wait.due for wait in sight.waits if wait.kind == WaitKind.TIMER and wait.due is not None]
    came = [at for at in [mail.at for mail in sight.mail] or dues if at <= scene.now]
    if not came or (head.kind == ENTITY and any(wait.number == LOCK for wait in sight.waits)):
        return None
    since, age = min(came), scene.now - min(came)
    standing = _standing(sight, None)
    letters = _letters(len(came))
    if standing is not None:
        facts = _stands(f"has {letters} to take", standing.sentence)
        return Finding(cause=standing.cause, facts=facts, since=since)
    if head.kind == ENTITY:
        return _unowned(sight, f"has {letters} that nobody takes", since)  # because its mail is its queue
    if scene.is_owned:
        return _late(sight, len(came), since) if age >= LATE_SECONDS * SECOND else None
    unowned = _unowned(sight, f"has {letters} that nobody takes", since)
    if unowned is not None:
        return unowned
    if age >= LATE_SECONDS * SECOND:
        return _late(sight, len(came), since)
    what = f"has {letters} that its owner {shown(scene.holder or '')} has not taken yet{_if_server(sight)}"
    return Finding(cause="turn", facts={"what": what}, since=since)


def _letters(count: int) -> str:
    return "a message" if count == 1 else f"{count:,} messages"


def _late(sight: Sight, count: int, since: int) -> Finding:
    facts = {
        "letters": _letters(count),
        "owner": shown(sight.scene.holder or "here"),
        "age": span(sight.scene.now - since),
        "hint": _if_server(sight),
    }
    return Finding(cause="late", facts=facts, since=since)


def _unowned(sight: Sight, what: str, since: int | None, line: str | None = None) -> Finding | None:
    """That there is nobody who could take a turn of it. None: there is somebody."""
    head, scene = sight.head, sight.scene
    if scene.is_owned:
        return None
    if not scene.nodes:
        last = scene.owner.owner if scene.owner is not None else None
        deaths = scene.suspect.deaths if scene.suspect is not None else 0
        died = f"; its owners died {deaths} times running while it was in flight" if deaths > 1 else ""
        facts = {
            "what": what,
            "app": head.app,
            "app_told": "" if scene.is_home else f" {shown(head.app)}",
            "last": (f" (the last one, {shown(last)}, is gone)" if last else "") + died,
            "keeper": shown(scene.keeper or ""),
        }
        cause = "no-node" if scene.keeper is None else "store-held"
        return Finding(cause=cause, facts=facts, since=since, line=line)
    if not any(node.has_code for node in scene.nodes):
        facts = _stands(
            what, f"{counted(len(scene.nodes), 'server')} of app {shown(head.app)} without a worker that has its code"
        )
        return Finding(cause="no-worker", facts=facts, since=since, line=line)
    if scene.is_orphaned and scene.owner is not None:
        until = scene.owner.until
        when = f" at {time(until)}" if until is not None else ""
        others = "the node that lives" if len(scene.nodes) == 1 else f"one of the {len(scene.nodes)} nodes that live"
        next = f"{others} takes over when the lease runs out{when}"
        facts = {"what": what, "owner": shown(scene.owner.owner or ""), "next": next}
        return Finding(cause="lease-lost", facts=facts, since=since, line=line)
    return None


def _stands(what: str, standing: str) -> dict[str, Any]:
    return {"what": what, "standing": standing}


def _if_server(sight: Sight) -> str:
    """Where to ask on, as a store does not know who is connected to its owner."""
    is_elsewhere = sight.scene.holder is not None and not sight.scene.is_owned
    return "; if that is a server, `perdure explain --server` tells of its workers" if is_elsewhere else ""


# -- queues -----------------------------------------------------------------------------------------------------------


def _in_queue(sight: Sight) -> Finding | None:
    wait = next((wait for wait in sight.waits if wait.state == QUEUED and not _is_retried(wait)), None)
    return queued(sight, wait) if wait is not None else None


def _is_retried(wait: Wait) -> bool:
    return wait.due is not None and wait.failure is not None


def queued(sight: Sight, wait: Wait) -> Finding:
    """For whose slot it waits, how many are before it, and who has the slots."""
    head, calls = sight.head, sight.calls
    what = "to begin" if wait.kind == WaitKind.START else f"with activity {shown(wait.name)}"
    at = f" at {shown(wait.line)}" if wait.line else ""
    places = {(call.instance, call.wait.number): place_told(call) for call in calls}
    place = places.get((head.id, wait.number)) or _place(wait)
    if place is None:
        return Finding(cause="turn", facts={"what": "has just left its queue"}, since=wait.since, line=wait.line)
    others = [call for call in calls if _queue_of(places, call) == place.queue]
    admitted = [call for call in others if call.wait.state == ADMITTED]
    names = [f"{call.wait.name} of {call.instance}" for call in admitted]
    number, line = _position(others, places, (head.id, wait.number))
    facts = {
        "what": what,
        "at": at,
        "queue": shown(place.queue),
        "key": f" for {shown(repr(place.key))}" if place.key else "",
        "number": f"{number:,}",
        "line": f"{line:,}",
        "limits": limits_told(place.limits),
        "holders": f"slots are held by {listed(names)}" if names else "nobody has a slot",
    }
    blocking = admitted
    if place.limits.concurrency is None:
        blocking = [call for call in admitted if _key_of(places, call) == place.key]
    behind = tuple(dict.fromkeys(Reference(call.instance) for call in blocking[:CHILDREN_FOLLOWED_MAX]))
    link = (f"waits {what}{at} for a slot of queue {shown(place.queue)} that ", " has")
    is_shared = bool(behind) and len(blocking) <= CHILDREN_FOLLOWED_MAX
    return Finding(
        cause="queue", facts=facts, since=wait.since, line=wait.line, behind=behind, link=link, is_shared=is_shared
    )


def _place(wait: Wait) -> Place | None:
    """Where a wait stands that is not among those that were read, which may be too many."""
    try:
        return place_of(wait.options)
    except ValueError:
        return None  # because what cannot be read is told by the turn that reads it


def _queue_of(places: Mapping[tuple[str, int], Place | None], call: OpenCall) -> str | None:
    place = places[call.instance, call.wait.number]
    return None if place is None else place.queue


def _key_of(places: Mapping[tuple[str, int], Place | None], call: OpenCall) -> str | None:
    place = places[call.instance, call.wait.number]
    return None if place is None else place.key


def _position(
    calls: Sequence[OpenCall], places: Mapping[tuple[str, int], Place | None], of: tuple[str, int]
) -> tuple[int, int]:
    """Where a wait stands in its line if nobody else comes, and how many stand there."""
    tickets = [
        Ticket((call.instance, "", 0, call.wait.number), place.key, place.priority, call.wait.since)
        for call in calls
        if call.wait.state == QUEUED and (place := places[call.instance, call.wait.number]) is not None
    ]
    order = [(ticket.address[0], ticket.address[3]) for ticket in in_order(tickets)]
    return (order.index(of) + 1 if of in order else len(order)), len(order)


# -- waits ------------------------------------------------------------------------------------------------------------


def _waiting(sight: Sight) -> Finding | None:
    """What a running instance waits for, the most telling wait first: what is wrong, then children, then by kind."""
    head = sight.head
    if head.kind == "schedule":
        return _schedule(sight)
    if head.kind == ENTITY:
        return _entity(sight)
    waits = [wait for wait in sight.waits if wait.state != LOCKED and wait.kind in _OF_WAIT]
    if not waits:
        return None
    looked = sorted(waits[:WAITS_LOOKED_MAX], key=lambda wait: _ORDER.index(wait.kind))
    found = [(wait, _OF_WAIT[wait.kind](sight, wait, len(waits) - 1)) for wait in looked]
    wrong = next((each for _, each in found if not CAUSES[each.cause].is_normal), None)
    if wrong is not None:
        return wrong
    children = [each for wait, each in found if wait.kind == WaitKind.CHILD and each.behind]
    if children:
        behind = tuple(child.behind[0] for child in children)[:CHILDREN_FOLLOWED_MAX]
        return msgspec.structs.replace(children[0], behind=behind)
    return found[0][1]


def _more(sight: Sight, others: int, kind: str = "") -> str:
    """How much else it waits for; and that nobody runs the app, for what only owners move."""
    more = f" ({counted(others, 'more wait')})" if others else ""
    if kind in _MOVED_BY_OWNERS and not sight.scene.nodes and not sight.scene.is_owned:
        more += "; no process runs its app"
    return more


_MOVED_BY_OWNERS = ("activity", "timer")


def _at(wait: Wait) -> str:
    return f" at {shown(wait.line)}" if wait.line else ""


def _of_activity(sight: Sight, wait: Wait, others: int) -> Finding:
    scene = sight.scene
    facts: dict[str, Any] = {
        "activity": shown(wait.name),
        "attempt": str(max(wait.attempt, 1)),
        "at": _at(wait),
        "more": _more(sight, others, "activity"),
    }

    def told(cause: str, **more: Any) -> Finding:
        return Finding(cause=cause, facts={**facts, **more}, since=wait.since, line=wait.line)

    what = f"waits for activity {facts['activity']}, attempt {facts['attempt']}{facts['at']}"
    if wait.state == CLAIMED:
        return _of_claimed(sight, wait, told)
    if _is_retried(wait) and wait.due is not None and (wait.due > scene.now or scene.nodes or scene.is_owned):
        return told("retry", due=time(wait.due), failure=_failure(wait))
    if wait.state == OFFERED:
        lacks = _lacks(sight, wait.name)
        return told("no-code", **_stands(what, lacks)) if lacks else told("offered")
    standing = _standing(sight, wait)
    if standing is not None:
        more = f" ({counted(others, 'more wait')})" if others else ""
        return told(standing.cause, **_stands(what + more, standing.sentence))
    unowned = _unowned(sight, what, wait.since, wait.line)
    return unowned if unowned is not None else _of_attempt(sight, wait, told)


def _failure(wait: Wait) -> str:
    try:
        failure = msgspec.json.decode(wait.failure or b"", type=Failure)
    except (msgspec.MsgspecError, ValueError):
        return "cannot be read"  # because a damaged row must not keep the rest from being told
    return f"{shown(failure.type)}: {shown(failure.message)}"


def _lacks(sight: Sight, activity: str) -> str | None:
    """That none of the nodes that live has an activity, where all of them tell what they have."""
    app, abouts = sight.head.app, [about_of(node) for node in sight.scene.nodes]
    names = {name for about in abouts for name in about.activities}
    if not names or activity in names or any(about.unnamed or not about.activities for about in abouts):
        return None
    there = counted(len(abouts), "node")
    return f"of app {shown(app)} there is {there}, and none that has activity {shown(activity)}"


def _of_claimed(sight: Sight, wait: Wait, told: Callable[..., Finding]) -> Finding:
    node = wait.claimed_by or ""
    if sight.scene.nodes and node not in {each.owner for each in sight.scene.nodes}:
        return told("claim-lost", node=shown(node))
    until = f" and keeps until {time(wait.claimed_until)} at least" if wait.claimed_until is not None else ""
    return told("claimed", node=shown(node), until=until)


def _of_attempt(sight: Sight, wait: Wait, told: Callable[..., Finding]) -> Finding:
    """An attempt that the owner has under way."""
    scene, usual = sight.scene, sight.usual
    attempt = scene.attempt(wait)
    if attempt is not None and attempt.started is None:
        return told("slots", slots=counted(attempt.slots, "slot"), waiting=counted(attempt.waiting, "attempt"))
    age = scene.now - (attempt.started if attempt is not None and attempt.started is not None else wait.since)
    beat = ""
    if attempt is not None and attempt.silence is not None:
        beat = f", last heartbeat {span(round(attempt.silence * SECOND))} ago"
    known = usual is not None and usual.count >= USUAL_COUNT_MIN
    long = max(LONG_FACTOR * usual.most, LONG_SECONDS_MIN * SECOND) if known and usual else LONG_SECONDS * SECOND
    past = ""
    if known and usual is not None:
        past = (
            f"; of the last {usual.count} that completed half took up to {span(usual.median)} and 95 in 100 up to "
            f"{span(usual.most)}"
        )
    next = _bounded(sight) or "the activity ends"
    if age > long:
        return told("activity-long", age=span(age), signs=beat, usual=past, next=next)
    run = f", which has run for {span(age)}" if attempt is not None else ""
    return told("activity", signs=run + beat, usual=past, next=next)


_DECISION = re.compile(r"agent\.decision(?:#\d+)?\.(.+)", re.DOTALL)
"""Events that decide calls of agents' tools, by what they bring: one that brings nothing decides nothing."""
DENIAL = '{"approved": false}'


def _of_event(sight: Sight, wait: Wait, others: int) -> Finding:
    facts = {
        "event": repr(shown(wait.name)),
        "event_name": wait.name,
        "at": _at(wait),
        "more": _more(sight, others),
        "next": _bounded(sight) or NOTHING,
    }
    example = _example(wait)
    if example is not None:
        facts.update(event=f"{facts['event']} of type {shown(example.type)}", data=_data(example))
    call = _DECISION.fullmatch(wait.name)
    if call is not None:
        facts.update(call=repr(shown(call[1])), denial=DENIAL)
        return Finding(cause="decision", facts=facts, since=wait.since, line=wait.line)
    near = near_miss(wait.name, wait.since, sight.raised)
    if near is not None:
        facts.update(near=repr(shown(near[1])), came=time(near[0]))
        return Finding(cause="event-near", facts=facts, since=wait.since, line=wait.line)
    return Finding(cause="event", facts=facts, since=wait.since, line=wait.line)


def _example(wait: Wait) -> Example | None:
    try:
        return example_in(wait.options)
    except ValueError:
        return None  # because an example is a help, and the wait is what there is to tell


def _data(example: Example) -> str:
    """As an argument; what has to be written by hand first is none that a command takes for JSON."""
    return example.value if example.value is not None else f"<{example.type} as JSON>"


def _bounded(sight: Sight) -> str | None:
    """Which time ends a wait for the world, if one does."""
    timers = [w.due for w in sight.waits if w.kind == WaitKind.TIMER and w.due is not None]
    timeouts = [w.due for w in sight.waits if w.kind == WaitKind.TIMEOUT and w.due is not None]
    if timers and (not timeouts or min(timers) <= min(timeouts)):
        return f"a timer of it goes off at {time(min(timers))}"
    return f"its run_timeout ends it at {time(min(timeouts))}" if timeouts else None


def _of_timer(sight: Sight, wait: Wait, others: int) -> Finding:
    due = wait.due or 0
    ahead = due - sight.scene.now
    facts = {"due": time(due), "at": _at(wait), "more": _more(sight, others, "timer"), "age": span(ahead)}
    cause = "timer-far" if ahead >= FAR_SECONDS * SECOND else "timer"
    return Finding(cause=cause, facts=facts, since=wait.since, line=wait.line)


def _of_child(sight: Sight, wait: Wait, others: int) -> Finding:
    on = wait.on or ""
    facts = {"on": on, "at": _at(wait), "more": _more(sight, others)}
    try:
        app = app_of(wait.options)
    except ValueError:
        app = None  # because what cannot be read is told by the turn that reads it
    behind = (Reference(on, app),) if on else ()
    link = ("waits for its child ", _at(wait))
    return Finding(cause="child", facts=facts, since=wait.since, line=wait.line, behind=behind, link=link)


def _of_entity(sight: Sight, wait: Wait, others: int) -> Finding:
    facts = {"operation": shown(wait.name), "at": _at(wait), "more": _more(sight, others), "holders": ""}
    if wait.on is not None:
        link = (f"waits for {shown(wait.name)} of the entity ", _at(wait))
        own = {lock for held in sight.waits if held.state == LOCKED for lock in _locks(held)}
        return Finding(
            cause="entity",
            facts={**facts, "on": wait.on},
            since=wait.since,
            line=wait.line,
            behind=() if wait.on in own else (Reference(wait.on),),  # because what it has locked serves it alone
            link=link,
        )
    locks = _locks(wait)
    link = ("waits for the lock of ", _at(wait))
    behind = tuple(Reference(lock) for lock in locks[:CHILDREN_FOLLOWED_MAX])
    return Finding(cause="entity-lock", facts=facts, since=wait.since, line=wait.line, behind=behind, link=link)


def _locks(wait: Wait) -> list[str]:
    try:
        return msgspec.json.decode(wait.options or b"[]", type=list[str])
    except ValueError:
        return []  # because what cannot be read is told by the turn that reads it


_OF_WAIT: Mapping[str, Callable[[Sight, Wait, int], Finding]] = {
    WaitKind.ACTIVITY: _of_activity,
    WaitKind.EVENT: _of_event,
    WaitKind.ENTITY: _of_entity,
    WaitKind.TIMER: _of_timer,
    WaitKind.CHILD: _of_child,
}
_ORDER = tuple(_OF_WAIT)


def _schedule(sight: Sight) -> Finding:
    """When a schedule ticks next; it is never finished, and waits for commands all the time."""
    head = sight.head
    due = next((wait.due for wait in sight.waits if wait.kind == WaitKind.TIMER and wait.due is not None), None)
    facts = {
        "what": f"sleeps until {time(due)}" if due is not None else "has no tick ahead, or is paused",
        "next": f"it ticks at {time(due)}" if due is not None else NOTHING,
        "schedule": head.id.removeprefix("schedule:"),
    }
    return Finding(cause="schedule", facts=facts, since=head.updated)


def _entity(sight: Sight) -> Finding:
    """Who has the lock of an entity, or when its next delayed operation is due; it is never finished."""
    head = sight.head
    lock = next((wait for wait in sight.waits if wait.number == LOCK), None)
    if lock is not None and lock.on is not None:
        link = ("is locked by ", "")
        return Finding(cause="locked", facts={"on": lock.on}, since=lock.since, behind=(Reference(lock.on),), link=link)
    if sight.scene.queue is not None and sight.scene.queue.count:
        return _at_work(sight, sight.scene.queue)
    if sight.mail:
        return _at_work(sight, EntityQueue(len(sight.mail), min(mail.at for mail in sight.mail)))
    due = min((wait.due for wait in sight.waits if wait.due is not None), default=None)
    facts = {
        "what": f"waits until {time(due)} with a delayed operation" if due is not None else "waits for operations",
        "next": f"the operation is run at {time(due)}" if due is not None else NOTHING,
    }
    return Finding(cause="entity-idle", facts=facts, since=head.updated)


def _at_work(sight: Sight, queue: EntityQueue) -> Finding:
    """An entity that has operations to run, which is worth telling once they wait for long."""
    age = sight.scene.now - queue.since
    asked = "1 operation" if queue.count == 1 else f"{queue.count:,} operations"
    if age < LATE_SECONDS * SECOND:
        facts = {"what": f"has {asked} under way, or in its queue", "next": "they are run one after the other"}
        return Finding(cause="entity-idle", facts=facts, since=sight.head.updated)
    doing = ""
    if queue.batch:
        others = f" and {counted(len(queue.batch) - 1, 'more', 'more')}" if len(queue.batch) > 1 else ""
        doing = f"; under way for {span(sight.scene.now - queue.begun)}: {shown(queue.batch[0])}{others}"
    elif queue.lacks_code:
        doing = f"; no code for {shown(sight.head.name)} is registered here"
    facts = {"asked": asked, "age": span(age), "doing": doing}
    return Finding(cause="entity-behind", facts=facts, since=queue.since)


def _idle(sight: Sight) -> Finding:
    """There is no wait at all."""
    head, scene = sight.head, sight.scene
    if not scene.is_owned:
        what = "has no call open: a turn of it is under way, or it waits for an event of which its SDK tells nothing"
        return Finding(cause="turn", facts={"what": what}, since=head.updated)
    if scene.standing(None) is None:
        facts = {"what": "waits for nothing: a turn of it is under way"}
        return Finding(cause="turn", facts=facts, since=head.updated)
    return Finding(cause="event-unnamed", facts={"next": _bounded(sight) or NOTHING}, since=head.updated)


_LOOKS: tuple[Callable[[Sight], Finding | None], ...] = (
    _finished,
    _stalled,
    _suspended,
    _storeless,
    _ahead,
    _restarting,
    _unbegun,
    _in_queue,
    _untaken,
    _waiting,
)
"""In which order it is looked; the first cause that fits is told."""
