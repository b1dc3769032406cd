"""Why messages of topics are not done: what is seen of a group, and which cause that is."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from perdure.clock import SECOND, to_datetime
from perdure.engine.diagnosis.causes import cause_of
from perdure.engine.diagnosis.words import command, counted, listed, shown, span, time
from perdure.engine.node import Node
from perdure.engine.topics import messages_at, partitions
from perdure.history.events import MessagePublished
from perdure.history.nodes import about_of, group_told, owning
from perdure.history.state import Explanation
from perdure.history.subscribing import DEFAULTS, SubscribeOptions
from perdure.history.topic_log import Pending
from perdure.history.topic_state import NOBODY_YET, Partition
from perdure.history.topics import topic_of
from perdure.stores.contract import Inspected, Member

BEHIND_SECONDS = 60.0
"""From which age of its oldest message on a group is told to be behind, although nothing fails."""
BEHIND_LOOKED_MAX = 200
"""Messages that wait in a partition, of which it is looked whether they wait for another one of their key."""
SUSPICIOUS_UNHEARD = 2
"""From how many deaths with a message in hand on a suspicion is worth telling."""


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """The message that holds a group up most: `failed` attempts so far, `behind` it so many of its key."""

    message: str
    key: str | None = None
    failed: int = 0
    due: int = 0
    unheard: int = 0
    behind: int = 0


class GroupSight(msgspec.Struct, frozen=True, kw_only=True):
    """A group with messages left, as of one moment. `group` None: nobody has subscribed to the topic.

    `oldest` is when the oldest of them was published, `nodes` are those that run the app, `handlers` those of them that
    handle the group (None: one of them does not tell).
    """

    topic: str
    group: str | None
    left: int
    now: int
    oldest: int | None = None
    nodes: Sequence[str] = ()
    handlers: Sequence[str] | None = ()
    options: SubscribeOptions = DEFAULTS
    trouble: Trouble | None = None


async def explain_topics(node: Node, topic: str | None = None) -> list[Explanation]:
    """Why messages are not done, one for each group that has any left: of one topic, or of all."""
    by_topic: dict[str, list[Partition]] = {}
    for partition in await partitions(node):
        by_topic.setdefault(topic_of(partition.id), []).append(partition)
    chosen = sorted(by_topic) if topic is None else [topic] if topic in by_topic else []
    members = await _members(node)
    return [told(sight, node.app) for name in chosen for sight in await _sights(node, name, by_topic[name], members)]


# -- what is seen -----------------------------------------------------------------------------------------------------


async def _sights(
    node: Node, topic: str, partitions: Sequence[Partition], members: Sequence[Member]
) -> list[GroupSight]:
    names = sorted({name for each in partitions for name in each.log.groups})
    found = [await _sight(node, topic, name, partitions, members) for name in names]
    if not names:
        left = sum(each.log.count for each in partitions)
        nodes = [member.owner for member in members]
        oldest = _oldest(partitions, NOBODY_YET)
        found.append(GroupSight(topic=topic, group=None, left=left, now=node.clock.now(), oldest=oldest, nodes=nodes))
    return [sight for sight in found if sight.left]


async def _sight(
    node: Node, topic: str, name: str, partitions: Sequence[Partition], members: Sequence[Member]
) -> GroupSight:
    having = [each for each in partitions if name in each.log.groups]
    troubles = [trouble for each in having for trouble in await _troubles(node, each, name)]
    return GroupSight(
        topic=topic,
        group=name,
        left=sum(each.log.groups[name].left for each in having),
        now=node.clock.now(),
        oldest=_oldest(having, name),
        nodes=[member.owner for member in members],
        handlers=_handlers(members, topic, name),
        options=having[0].log.groups[name].options,
        trouble=max(troubles, key=lambda one: (one.unheard, one.behind, one.failed), default=None),
    )


def _oldest(partitions: Sequence[Partition], name: str) -> int | None:
    return min((each.oldest[name] for each in partitions if name in each.oldest), default=None)


def _handlers(members: Sequence[Member], topic: str, group: str) -> list[str] | None:
    abouts = [(member.owner, about_of(member)) for member in members]
    found = [owner for owner, about in abouts if group_told(topic, group) in about.groups]
    return None if not found and any(about.unnamed for _, about in abouts) else found


async def _members(node: Node) -> list[Member]:
    """The nodes that run the app."""
    store: object = node.store
    members = await node.store.members(node.app)
    if node.store.lease_seconds is None and isinstance(store, Inspected):
        # because a lock tells who owns the store, and not of which of its apps
        owners = [state.owner for state in await store.shard_states(node.app)]
        members = owning(members, owners)
    return list(members)


async def _troubles(node: Node, partition: Partition, name: str) -> list[Trouble]:
    """The message of a partition that has failed, or is suspected, and has most behind it; none if all is well."""
    pending = partition.log.groups[name].pending
    held = [one for one in pending if one.failed or one.unheard >= SUSPICIOUS_UNHEARD][:BEHIND_LOOKED_MAX]
    if not held:
        return []
    others = [one.position for one in pending if not one.failed][:BEHIND_LOOKED_MAX]
    positions = sorted({*(one.position for one in held), *others})
    messages = await messages_at(node, partition.id, partition.log, positions)
    keys = [messages[position].key for position in others if position in messages]
    return [_trouble(one, messages[one.position], keys) for one in held if one.position in messages]


def _trouble(one: Pending, message: MessagePublished, keys: Sequence[str | None]) -> Trouble:
    return Trouble(
        message=message.id,
        key=message.key,
        failed=one.failed,
        due=one.due,
        unheard=one.unheard,
        behind=keys.count(message.key) - (not one.failed) if message.key is not None else 0,
    )


# -- which cause that is ----------------------------------------------------------------------------------------------


def cause_in(sight: GroupSight) -> str:
    """The id of the cause, first what keeps everybody from handling a message, then what one message does.

    But nobody is there to handle any for a while after a message has killed who did.
    """
    trouble = sight.trouble
    if sight.group is None:
        return "topic-no-group"
    if trouble is not None and trouble.unheard >= SUSPICIOUS_UNHEARD:
        return "topic-suspect"
    if not sight.nodes:
        return "topic-no-node"
    if sight.handlers is not None and not sight.handlers:
        return "topic-unhandled"
    if trouble is not None and trouble.behind:
        return "topic-key-blocked"
    if trouble is not None:
        return "topic-failing"
    is_behind = sight.oldest is not None and sight.now - sight.oldest >= BEHIND_SECONDS * SECOND
    return "topic-behind" if is_behind else "topic-working"


def told(sight: GroupSight, app: str) -> Explanation:
    """The sentence, and what moves it."""
    row, facts = cause_of(cause_in(sight)), _facts(sight)
    words = row.command
    return Explanation(
        instance=sight.topic,
        cause=row.id,
        sentence=row.sentence.format_map(facts) + ".",
        since=to_datetime(sight.oldest) if sight.oldest is not None else None,
        command=command(("perdure", *words.verb), ("--app", app), ()) if words is not None else None,
        next=row.next.format_map(facts),
        is_normal=row.is_normal,
    )


def _facts(sight: GroupSight) -> dict[str, str]:
    trouble, options = sight.trouble or Trouble(message=""), sight.options
    topic = f"topic {shown(sight.topic)}"
    letters = options.dead_letter
    return {
        "who": topic if sight.group is None else f"group {shown(sight.group)} of {topic}",
        "left": counted(sight.left, "message"),
        "age": span(sight.now - sight.oldest) if sight.oldest is not None else "a moment",
        "nodes": listed(list(sight.handlers or sight.nodes)),
        "message": shown(trouble.message),
        "key": shown(trouble.key or ""),
        "behind": counted(trouble.behind, "message"),
        "failed": counted(trouble.failed, "time"),
        "deaths": counted(trouble.unheard, "time"),
        "attempt": f"attempt {trouble.failed + 1} of {options.attempts_max}",
        "due": time(trouble.due),
        "end": f"goes to the topic {shown(letters)}" if letters is not None else "is counted and dropped",
    }
