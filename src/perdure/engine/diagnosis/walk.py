"""The walk over who waits for whom, from an instance to the one that holds it, or round to itself."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from perdure.engine.diagnosis.causes import cause_of
from perdure.engine.diagnosis.findings import find
from perdure.engine.diagnosis.reading import Reader
from perdure.engine.diagnosis.sentences import Step, explanation, linked
from perdure.engine.diagnosis.sight import Finding, Reference
from perdure.engine.diagnosis.words import shown
from perdure.engine.node import Node
from perdure.history.state import Explanation
from perdure.stores.contract import FINISHED, Head

DEPTH_MAX = 20
"""How many instances down the cause is followed."""
CIRCLE_TOLD_MAX = 6
"""Of instances that wait for each other, how many a sentence names."""
LENDERS = frozenset(("queue", "workflow-slots", "entity", "entity-lock", "locked"))
"""Causes in which somebody has what an instance wants: they are told as such while nothing is wrong with who has it."""


async def explain(node: Node, head: Head) -> Explanation:
    """Why an instance is not finished, followed to whoever holds it."""
    reader = Reader(node)
    steps = [await _step(reader, head)]
    while len(steps) <= DEPTH_MAX and steps[-1].finding.behind:
        followed = await _follow(reader, steps)
        if followed is None:
            break
        steps = followed
    return explanation(shortened(steps), node.app)


async def _step(reader: Reader, head: Head) -> Step:
    sight = await reader.sight(head)
    return Step(sight, find(sight))


async def _follow(reader: Reader, steps: Sequence[Step]) -> list[Step] | None:
    """The steps with one more, or with another end; None: there is no way on."""
    step = steps[-1]
    behind, app = step.finding.behind, step.head.app
    places = [(reference.app or app, reference.id) for reference in behind]
    path = [each.place for each in steps]
    closing = [place for place in places if place in path]
    if closing and (len(closing) == len(places) or not step.finding.is_shared):
        first = path.index(closing[0])
        return [*steps[:first], in_a_circle(steps[first:])]
    open_ones = [reference for reference, place in zip(behind, places, strict=True) if place not in path]
    heads = await reader.heads(open_ones, app)
    chosen = pick(list(heads.values()))
    if chosen is not None:
        return [*steps, await _step(reader, chosen)]
    if step.finding.cause != "child":
        return None
    gone = next((reference for reference in open_ones if reference not in heads), None)
    return [*steps[:-1], await _without_child(reader, step, gone)]


async def _without_child(reader: Reader, step: Step, gone: Reference | None) -> Step:
    """A child that has ended, or is not there, or is of an app that never ran here."""
    finding = step.finding
    if gone is None:
        what = f"waits for its child {shown(finding.behind[0].id)}, which has ended: the answer is on its way"
        return _instead(step, "turn", {"what": what})
    if gone.app is not None and not await reader.knows(gone.app):
        what = f"waits for its child {shown(gone.id)}{finding.link[1]}"
        facts = {"what": what, "app": gone.app, "app_told": f" {shown(gone.app)}"}
        return _instead(step, "no-node", facts)
    return _instead(step, "child-gone", {**finding.facts, "on": gone.id})


def _instead(step: Step, cause: str, facts: dict[str, str]) -> Step:
    found = msgspec.structs.replace(step.finding, cause=cause, facts=facts, behind=())
    return Step(step.sight, found)


def pick(heads: Sequence[Head]) -> Head | None:
    """Of those that an instance waits for the one to look at: who stands still, else the first that is not finished."""
    alive = [head for head in heads if head.status not in FINISHED]
    stalled = [head for head in alive if head.stalled is not None]
    suspended = [head for head in alive if head.suspended is not None]
    return next(iter((*stalled, *suspended, *alive)), None)


def in_a_circle(circle: Sequence[Step]) -> Step:
    """The first of steps that wait for each other, the last one for the first."""
    links = [linked(one, other.head.id) for one, other in zip(circle, [*circle[1:], circle[0]], strict=True)]
    victim = next((step for step in reversed(circle) if step.finding.cause in LENDERS), circle[-1]).head
    first, told = circle[0], links[:CIRCLE_TOLD_MAX]
    told += [f"and so on over {len(links) - len(told)} more"] if len(links) > len(told) else []
    facts = {"cycle": "; ".join(told), "victim": victim.id, "app": victim.app}
    ring = tuple(step.head.id for step in circle[1:])
    found = Finding(cause="deadlock", facts=facts, since=first.finding.since, line=first.finding.line, ring=ring)
    return Step(first.sight, found)


def shortened(steps: Sequence[Step]) -> list[Step]:
    """The steps up to somebody who waits for what another has, if there is nothing wrong with that other."""
    if not cause_of(steps[-1].finding.cause).is_normal:
        return list(steps)
    for at, step in enumerate(steps[:-1]):
        if step.finding.cause in LENDERS:
            return [*steps[:at], _with_lender(step, steps[at + 1 :])]
    return list(steps)


def _with_lender(step: Step, after: Sequence[Step]) -> Step:
    """A wait for a lock, with who has it."""
    lender = next((each.finding.facts["on"] for each in after if each.finding.cause == "locked"), None)
    if step.finding.cause != "entity-lock" or lender is None:
        return step
    facts = {**step.finding.facts, "holders": f", which {shown(lender)} has"}
    return Step(step.sight, msgspec.structs.replace(step.finding, facts=facts))
