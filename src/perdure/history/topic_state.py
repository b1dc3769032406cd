"""What stands in the topics of an app, as the heads of their partitions tell it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import msgspec

from perdure.clock import to_datetime
from perdure.history.topic_log import Group, Log
from perdure.history.topics import topic_of

NOBODY_YET = ""
"""Stands for the group that does not exist yet, for which everything is kept."""


class GroupState(msgspec.Struct, frozen=True, kw_only=True):
    """A group of a topic.

    `left`: messages that it has not done, `retrying` of them wait for their next attempt; `dead`: messages that it has
    given up, of which one on its way to the topic of dead letters is `left` in neither. `oldest`: when the oldest one
    was published that it has not done.
    """

    name: str
    left: int
    retrying: int = 0
    dead: int = 0
    oldest: datetime | None = None
    dead_letter: str | None = None


class TopicState(msgspec.Struct, frozen=True, kw_only=True):
    """A topic. `published`: messages that were ever published; without a group all of them are kept for the first."""

    name: str
    published: int
    groups: list[GroupState] = []


class Partition(NamedTuple):
    """A partition as it was read; `oldest` tells for each group when its oldest message was published."""

    id: str
    log: Log
    oldest: dict[str, int]


def topic_states(partitions: Iterable[Partition]) -> list[TopicState]:
    """One for each topic, by name."""
    by_name: dict[str, list[Partition]] = {}
    for partition in partitions:
        by_name.setdefault(topic_of(partition.id), []).append(partition)
    return [_state(name, by_name[name]) for name in sorted(by_name)]


def _state(name: str, partitions: list[Partition]) -> TopicState:
    names = sorted({group for each in partitions for group in each.log.groups})
    published = sum(each.log.count for each in partitions)
    return TopicState(name=name, published=published, groups=[_group(group, partitions) for group in names])


def _group(name: str, partitions: list[Partition]) -> GroupState:
    groups: list[Group] = [each.log.groups[name] for each in partitions if name in each.log.groups]
    ages = [each.oldest[name] for each in partitions if name in each.oldest]
    return GroupState(
        name=name,
        left=sum(group.left for group in groups),
        retrying=sum(one.failed > 0 for group in groups for one in group.pending),
        dead=sum(group.dead for group in groups),
        oldest=to_datetime(min(ages)) if ages else None,
        dead_letter=groups[0].options.dead_letter,
    )
