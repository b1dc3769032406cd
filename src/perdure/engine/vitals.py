"""What a node can say of itself at once, beside what it counts: what it holds, and how much room it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from perdure.engine.instance import Instance


class Vitals(msgspec.Struct, frozen=True, kw_only=True):
    """`slots` attempts may run here at once and `busy` do; `in_line` wait for one. `activations` are in memory, of
    `activations_max`. `members` are the nodes of the app as far as this one knows; 0 where a store has but one.
    `waiting` are the unfinished workflows in memory by what they wait for: kinds of waits, `suspended`, or `turn`; one
    that waits for several things counts for each."""

    shards: int
    slots: int
    busy: int
    in_line: int
    activations: int
    activations_max: int
    evictions: int
    members: int
    waiting: Mapping[str, int]


def waiting(actors: Iterable[object]) -> Counter[str]:
    """What those in memory wait for."""
    found: Counter[str] = Counter()
    for actor in actors:
        if isinstance(actor, Instance) and not actor.is_finished:
            if actor.head.suspended is not None:
                found["suspended"] += 1
            else:
                found.update({str(wait.kind) for wait in actor.waits.values()} or {"turn"})
    return found
