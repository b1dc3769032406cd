"""Which nodes have workers for a turn or an activity, as they tell; pure."""

from __future__ import annotations

from typing import NamedTuple

from perdure.engine.diagnosis.sight import Sight
from perdure.engine.diagnosis.words import listed, shown
from perdure.history.lending import ACTIVITY, BATCH, TAKES_MAX, TURN, takes_any
from perdure.history.nodes import about_of, is_of
from perdure.history.options import decode_options
from perdure.history.state import Standing
from perdure.history.transcript import STEP_TAG
from perdure.stores.contract import ENTITY, Wait


class _Need(NamedTuple):
    kind: str
    name: str
    version: str


_WORDS = {TURN: "workflow", BATCH: "entity", ACTIVITY: "activity"}


def elsewhere(sight: Sight, wait: Wait | None = None) -> Standing | None:
    """That the owner of an instance has no worker for its turn, or for the activity `wait`, and who has. None: it has
    one, or not all nodes tell."""
    need, nodes = _need(sight, wait), [node for node in sight.scene.nodes if node.has_code]
    if need is None or not nodes or (len(nodes) == 1 and sight.scene.is_owned):
        return None
    told = {node.owner: frozenset(about_of(node).takes) for node in nodes}
    if any(not takes or len(takes) >= TAKES_MAX for takes in told.values()):
        return None  # because a node that runs code itself tells nothing of workers, and one tells the first alone
    takers = [owner for owner, takes in told.items() if takes_any(takes, *need)]
    what = f"{_WORDS[need.kind]} {shown(need.name)}" + (f" of version {shown(need.version)}" if need.version else "")
    if not takers:
        servers = "the only server" if len(nodes) == 1 else f"any of the {len(nodes):,} servers"
        return Standing("no-code", f"no worker of {servers} of app {shown(sight.head.app)} has {what}")
    owner = sight.scene.owner.owner if sight.scene.owner is not None else None
    if owner is None or any(is_of(owner, taker) for taker in takers):
        return None
    told_to = f"so it is lent to a server that has one: {listed(takers)}"
    return Standing("lent", f"no worker of its server {shown(owner)} has {what}, {told_to}")


def _need(sight: Sight, wait: Wait | None) -> _Need | None:
    """What a worker must have. None: it is of another app, or cannot be read."""
    head = sight.head
    if wait is None:
        return _Need(BATCH if head.kind == ENTITY else TURN, head.name, head.version or "")
    if wait.on is not None:
        return None
    try:
        label = decode_options(wait.options).label
    except ValueError:
        return None
    if label is not None and label.tags and STEP_TAG in label.tags:
        return _Need(TURN, head.name, head.version or "")
    version = (label.version or label.run_version) if label is not None else None
    return _Need(ACTIVITY, wait.name, version or "")
