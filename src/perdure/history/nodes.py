"""What is known of the nodes of an app: what each tells of itself, and which shards are its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

import msgspec

from perdure.clock import SECOND, to_datetime
from perdure.stores.contract import ABOUT_BYTES_MAX, Member, ShardState

NAMES_MAX = 200
"""Names of workflows, and as many of activities, that a node tells; the first by name."""
NAME_CHARACTERS_MAX = 200
"""What is told of one name."""


class About(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a node tells of itself. `started` in microseconds since 1970 UTC; `doors` are addresses at which it listens.

    `groups` are those whose messages it handles, as `group_told` names them. `unnamed` counts the names that were left
    out, because there are too many. `workflow_slots` None: no bound. `takes` are the kinds of work that its workers
    take, from other nodes too (see `history/lending.py`).
    """

    version: str = ""
    pid: int = 0
    host: str = ""
    started: int = 0
    slots: int = 0
    workflow_slots: int | None = None
    workflow_slots_by_name: dict[str, int] = {}
    workflows: list[str] = []
    activities: list[str] = []
    doors: list[str] = []
    groups: list[str] = []
    takes: list[str] = []
    unnamed: int = 0


class NodeState(msgspec.Struct, frozen=True, kw_only=True):
    """A node that lives. `beat` is when it last said so; None where its lock says it. `shards` are by number.

    `has_code`: workers of the app are with it. `busy` of its `slots` ran attempts at its last beat;
    0 where there is no beat.
    """

    owner: str
    app: str
    has_code: bool
    shards: list[int]
    slots: int
    busy: int
    beat: datetime | None = None
    started: datetime | None = None
    version: str = ""
    pid: int = 0
    host: str = ""
    workflows: list[str] = []
    activities: list[str] = []
    doors: list[str] = []
    unnamed: int = 0


def told(about: About) -> bytes:
    """As the store keeps it: with as many names as there is room for."""
    most = NAMES_MAX
    while True:
        names = about.workflows, about.activities, about.groups
        workflows, activities, groups = (_first(each, most) for each in names)
        unnamed = sum(map(len, names)) - len(workflows) - len(activities) - len(groups)
        doors = [door[:NAME_CHARACTERS_MAX] for door in about.doors[:most]]
        by_name = {name: about.workflow_slots_by_name[name] for name in sorted(about.workflow_slots_by_name)[:most]}
        bounded = msgspec.structs.replace(
            about,
            workflow_slots_by_name=by_name,
            workflows=workflows,
            activities=activities,
            groups=groups,
            doors=doors,
            unnamed=unnamed,
        )
        data = msgspec.json.encode(bounded)
        if len(data) <= ABOUT_BYTES_MAX or not most:
            return data
        most //= 2


def group_told(topic: str, group: str) -> str:
    """How a node tells that it handles the messages of a group."""
    return f"{group} of {topic}"[:NAME_CHARACTERS_MAX]


def _first(names: Collection[str], most: int) -> list[str]:
    return [name[:NAME_CHARACTERS_MAX] for name in sorted(names)[:most]]


def node_states(
    app: str, members: Iterable[Member], shards: Sequence[ShardState], lease_seconds: float | None
) -> list[NodeState]:
    """The nodes of an app, by name. What a node has told and cannot be read is left out."""
    lasts = None if lease_seconds is None else round(lease_seconds * SECOND)
    return [_state(app, member, shards, lasts) for member in members]


def slots_told(members: Iterable[Member], name: str) -> int | None:
    """How many workflows of this name a node of these has begun at most, where one tells a bound."""
    abouts = [about_of(member) for member in members]
    bounds = [bound for about in abouts for bound in (about.workflow_slots, about.workflow_slots_by_name.get(name))]
    return min((bound for bound in bounds if bound is not None), default=None)


def _state(app: str, member: Member, shards: Sequence[ShardState], lasts: int | None) -> NodeState:
    about = about_of(member)
    beat = None if member.until is None or lasts is None else to_datetime(member.until - lasts)
    return NodeState(
        owner=member.owner,
        app=app,
        has_code=member.has_code,
        shards=[shard.number for shard in shards if is_of(shard.owner, member.owner)],
        slots=member.slots or about.slots,
        busy=member.busy,
        beat=beat,
        started=to_datetime(about.started) if about.started else None,
        version=about.version,
        pid=about.pid,
        host=about.host,
        workflows=about.workflows,
        activities=about.activities,
        doors=about.doors,
        unnamed=about.unnamed,
    )


def about_of(member: Member) -> About:
    """What a node has told of itself, as far as it can be read."""
    try:
        return About() if member.about is None else msgspec.json.decode(member.about, type=About)
    except msgspec.MsgspecError:
        return About()  # because a node of another version may tell what this one does not know


def owning(members: Iterable[Member], owners: Sequence[str | None]) -> list[Member]:
    """Those of the members that own one of the shards whose owners these are."""
    return [member for member in members if any(is_of(owner, member.owner) for owner in owners)]


def is_of(owner: str | None, member: str) -> bool:
    """Whether a shard's owner is this member, whose name goes on with its process where a lock tells it."""
    return owner is not None and (owner == member or member.startswith(f"{owner} ("))
