"""How the number of an app and that of its shard make the id of the shard, where the store gives no ids of its own."""

from __future__ import annotations

SHARDS_MAX = 4_096
"""Bound of the shards of one app: an app's number and a shard's make the shard's id."""


def shard_id(app: int, number: int) -> int:
    """The id of a shard by the numbers of its app, from 1, and of the shard, from 0."""
    return app * SHARDS_MAX + number


def app_number(shard: int) -> int:
    return shard // SHARDS_MAX


def number_in_app(shard: int) -> int:
    return shard % SHARDS_MAX
