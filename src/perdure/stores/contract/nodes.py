"""Who lives, who may write to which shard, who may have killed its owners, and how much there is to do."""

from __future__ import annotations

import msgspec


class Lease(msgspec.Struct, frozen=True, gc=False):
    """The right to write to the runs of one shard, until somebody holds a higher epoch.

    `until` is by the store's clock, None for a lease that lasts as long as its process.
    """

    shard: int
    app: str
    number: int
    owner: str
    epoch: int
    until: int | None = None


class Member(msgspec.Struct, frozen=True):
    """A node of an app that lives: `has_code` if workers of the app are with it. `until` is by the store's clock.

    `slots` is how many attempts it runs at once, `busy` how many it ran at its last beat. `about` is what it has told
    of itself besides, as JSON of at most ABOUT_BYTES_MAX bytes, which `members` alone gives back.
    """

    owner: str
    has_code: bool = True
    slots: int = 0
    busy: int = 0
    until: int | None = None
    about: bytes | None = None


class Beat(msgspec.Struct, frozen=True):
    """What a node hears when it says that it lives: which of its leases hold, and who else lives, by owner."""

    held: list[Lease]
    members: list[Member]


class Backlog(msgspec.Struct, frozen=True):
    """How much an app has to do: unfinished workflows, activity calls that wait for a slot of any node, when the one
    was scheduled that waits longest (None: none waits), and how many run after having been claimed.

    `ready` counts instances, entities among them, of which an owner has a turn to take: they are neither finished,
    suspended nor stalled, and have a wait that is due and is no activity, QUEUED or OUT, or mail, unless their start is
    due later or QUEUED. `since` is when the first of them had: the time of its mail, or its due time (None: there is
    none). `calls` counts what owners have to see to: activity calls of such instances that are HELD or ADMITTED, and
    waits of them that are QUEUED, unless they are due later. The rows do not tell whether they run.
    """

    unfinished: int
    offered: int
    oldest: int | None
    claimed: int
    ready: int = 0
    since: int | None = None
    calls: int = 0


class Suspect(msgspec.Struct, frozen=True, gc=False):
    """An instance that could have been running each time when the owners of its shard died, `deaths` times running.

    `accused` is the place, from 1, in which it was accused by the last owner that died and had accused anybody; 0 if it
    was not. A suspect is forgotten with its instance: when that is purged, or another takes its id.
    """

    instance: str
    deaths: int
    accused: int = 0
