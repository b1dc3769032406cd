"""The records and the protocol of moving apps between stores."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol, runtime_checkable

import msgspec

from perdure.stores.contract.creations import Claim, Permit
from perdure.stores.contract.instances import Head, Item, Published, Segment
from perdure.stores.contract.mail import Mail
from perdure.stores.contract.waits import Wait


class Side(StrEnum):
    """Which end of a move a store is."""

    SOURCE = "source"
    TARGET = "target"


class Reservation(msgspec.Struct, frozen=True):
    """Why nobody may run an app here, nor write to it: its instances are being moved.

    `by` names the move and `peer` the store at its other end, for people to read. With `is_sealed`, of a source alone,
    they were moved, and it holds for ever. With `is_aborted` the move is being taken back, and goes on no more.
    """

    by: str
    side: Side
    peer: str
    since: int
    is_sealed: bool = False
    is_aborted: bool = False


class Place(msgspec.Struct, frozen=True, gc=False):
    """Which instance lies in a shard, and how far its current run is."""

    id: str
    execution: str
    generation: int
    sequence: int
    is_finished: bool


class Track(msgspec.Struct, frozen=True):
    """A stream with its items."""

    generation: int
    number: int
    name: str
    items: list[Item]


class Whole(msgspec.Struct, frozen=True):
    """Everything that a store has of one instance, but for whether it is a suspect.

    As in `Loaded`, but seen ids are oldest first. What is published has its answers last, oldest first. Claims have
    their names and `until`.
    """

    head: Head
    parent_call: str | None = None
    segments: list[Segment] = []
    waits: list[Wait] = []
    mail: list[Mail] = []
    seen: list[str] = []
    published: list[Published] = []
    tracks: list[Track] = []
    claims: list[Claim] = []


@runtime_checkable
class Movable(Protocol):
    """What a store offers whose apps can be moved to another one, or from it.

    While an app is reserved `acquire`, `create`, `renew`, `deliver`, `report`, `claim` and `purge` raise AppReserved
    for it and write nothing; looking stays possible. A write that began before the reservation has ended when `reserve`
    returns, or is refused.
    """

    async def reserve(self, app: str, reservation: Reservation) -> None:
        """Keep the app for a move, or write its reservation anew; durable when it returns.

        Raises StoreOwned if somebody owns a shard of the app, or lives as a member, and AppReserved if it is kept for
        another move, or is sealed, or is aborted unless the new reservation is as well, or if what is to be sealed or
        aborted is not kept. Sealing raises the epoch of each shard, so that an older copy of the store is noticed.
        """

    async def reserved(self, app: str) -> Reservation | None:
        """What the app is kept for. It need not have shards."""

    async def free(self, app: str, by: str) -> None:
        """End this reservation. One that is sealed stays, and so does another's."""

    async def roll(self, app: str, after: tuple[int, str] = (0, ""), limit: int = 1000) -> list[tuple[int, Place]]:
        """All instances of the app, entities among them, by (shard, id), after that place; also those that cannot be
        read."""

    async def export(self, shard: int, ids: Sequence[str]) -> list[Whole]:
        """Those of the instances that exist, each as of one moment. Raises StoreCorrupt for one that cannot be read."""

    async def take_in(self, app: str, by: str, wholes: Sequence[Whole]) -> list[str]:
        """Insert instances, each as a whole or not at all, into their shards of the app; durable when it returns.

        One that is there already, by `execution`, stays as it is. Returns the ids that another execution has, of which
        nothing is written. A claim is dropped whose name is taken. Raises AppReserved unless the app is kept for this
        move as its target, and the move is not aborted.
        """

    async def recount(self, app: str, by: str, shard: int, permits: Sequence[Permit]) -> None:
        """Let the shard count these permits, in place of all others of their queues. Raises AppReserved likewise."""

    async def discard(self, app: str, by: str, places: Sequence[Place]) -> None:
        """Delete those of the instances that are there with the same execution.

        Raises AppReserved unless the app is kept for this move as its target.
        """
