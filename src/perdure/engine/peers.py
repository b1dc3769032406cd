"""What the workers of an app's other nodes take, as these tell it: who lends, and to whom work can be lent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from perdure.actors.rounds import Rounds
from perdure.history.nodes import about_of
from perdure.stores.contract import EngineStore, Member

LOOK_SECONDS = 2.0
"""Between looks at what the others tell. Work that nobody here has code for waits so long for others that have it."""


class Node(Protocol):
    """The engine around."""

    app: str
    owner: str
    store: EngineStore

    @property
    def has_peers(self) -> bool:
        """Whether other nodes lived at the last beat."""


class Peers:
    """Looks while there are any; `changed` is called when they tell something else."""

    def __init__(self, node: Node, changed: Callable[[], None]) -> None:
        self.takes: Mapping[str, frozenset[str]] = {}
        """What each takes, by node: those without workers are left out."""
        self._node = node
        self._changed = changed
        self._rounds = Rounds("peers", self._round)

    def start(self) -> None:
        self._rounds.start()

    async def stop(self) -> None:
        await self._rounds.stop()

    def taking(self, ways: Sequence[str]) -> str | None:
        """The first of the ways to tell a kind of work in which some other node tells it."""
        return next((way for way in ways if any(way in takes for takes in self.takes.values())), None)

    def lacking(self, take: str) -> bool:
        """Whether some other node may have to lend work that it would have to tell so."""
        return any(take not in takes for takes in self.takes.values())

    async def _round(self) -> float:
        node = self._node
        members = await node.store.members(node.app) if node.has_peers else []
        takes = takes_of_others(members, node.owner)
        if takes != self.takes:
            self.takes = takes
            self._changed()
        return LOOK_SECONDS

    def __repr__(self) -> str:
        return f"<Peers: {len(self.takes)} with workers>"


def takes_of_others(members: Sequence[Member], owner: str) -> Mapping[str, frozenset[str]]:
    """What the workers of each node take, without those of `owner`."""
    return {one.owner: frozenset(about_of(one).takes) for one in members if one.owner != owner and one.has_code}
