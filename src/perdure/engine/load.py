"""How much an app has to do and how much room its nodes have: what says how many nodes there should be."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import msgspec

from perdure.clock import SECOND
from perdure.stores.contract import Backlog, EngineStore, Member

SOON_SECONDS = 30.0
"""What falls due so soon counts as work already, because a node needs about that long to start."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to do now. `nodes` are those that have the app's code, `slots` and `busy` theirs together.

    `ready` instances have a turn to take, `offered` calls wait for a slot of any node and `claimed` ones have found
    one; `calls` are those that are the owners' own. `in_line` are pieces of work for which this process has no worker.
    `oldest_seconds` is the age of what waits longest, 0 if nothing does.
    """

    app: str
    unfinished: int = 0
    ready: int = 0
    offered: int = 0
    claimed: int = 0
    calls: int = 0
    in_line: int = 0
    oldest_seconds: float = 0.0
    nodes: int = 0
    slots: int = 0
    busy: int = 0

    @property
    def waiting(self) -> int:
        """What nobody does yet. With no node that has the code, that is everything that there is to do."""
        turns = max(self.ready, self.in_line)  # because a turn that waits in line is mail in the store as well
        return turns + self.offered + (0 if self.nodes else self.calls + self.claimed)

    @property
    def is_active(self) -> bool:
        """Whether there has to be a node. What only sleeps, or waits for an event, needs none."""
        return any((self.ready, self.in_line, self.offered, self.claimed, self.calls, self.busy))

    def measure(self, target: float) -> int:
        """The sum that, divided by `target`, gives the number of nodes: `target` things may wait for one of them.

        A node whose slots are all busy counts as much as those, so that nodes which are at work are not taken away.
        """
        used = self.busy / self.slots * self.nodes if self.slots else 0.0
        return self.waiting + ceil(used * target)


async def load_of(store: EngineStore, app: str, now: int, in_line: int = 0) -> Load:
    """The load of an app, from its rows and what its nodes have told with their last beats."""
    soon = now + round(SOON_SECONDS * SECOND)
    return load(app, await store.backlog(app, soon), await store.members(app), now, in_line)


def load(app: str, backlog: Backlog, members: Sequence[Member], now: int, in_line: int = 0) -> Load:
    """The same, from what was read."""
    nodes = [member for member in members if member.has_code]
    oldest = min((at for at in (backlog.since, backlog.oldest) if at is not None), default=now)
    return Load(
        app=app,
        unfinished=backlog.unfinished,
        ready=backlog.ready,
        offered=backlog.offered,
        claimed=backlog.claimed,
        calls=backlog.calls,
        in_line=in_line,
        oldest_seconds=max(0, now - oldest) / SECOND,
        nodes=len(nodes),
        slots=sum(member.slots for member in nodes),
        busy=sum(member.busy for member in nodes),
    )
