"""Configuration in Dapr's own API, and subscriptions to its changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from perdure.blocks.configuration import Item
from perdure.errors import MalformedMessage
from perdure.remote.wire.schema import RUNTIME_SCHEMA

KEYS_MAX = 1_000
"""Keys of one call."""


class AskedItems(msgspec.Struct, frozen=True):
    """Items of a store; all where no key is named."""

    store: str
    keys: Sequence[str] = ()


class Unsubscribe(msgspec.Struct, frozen=True):
    store: str
    id: str


def read_get(data: bytes) -> AskedItems:
    """A GetConfigurationRequest. Raises MalformedMessage."""
    return _asked("GetConfigurationRequest", data)


def read_subscribe(data: bytes) -> AskedItems:
    """A SubscribeConfigurationRequest. Raises MalformedMessage."""
    return _asked("SubscribeConfigurationRequest", data)


def _asked(name: str, data: bytes) -> AskedItems:
    message = RUNTIME_SCHEMA.parse(name, data)
    if len(message.keys) > KEYS_MAX:
        raise MalformedMessage(f"{len(message.keys):,} keys in one call; send at most {KEYS_MAX:,}, or none for all")
    return AskedItems(message.store_name, tuple(message.keys))


def read_unsubscribe(data: bytes) -> Unsubscribe:
    """An UnsubscribeConfigurationRequest. Raises MalformedMessage."""
    message = RUNTIME_SCHEMA.parse("UnsubscribeConfigurationRequest", data)
    return Unsubscribe(message.store_name, message.id)


def write_items(items: Mapping[str, Item]) -> bytes:
    """A GetConfigurationResponse."""
    return _written("GetConfigurationResponse", items)


def write_update(id: str, items: Mapping[str, Item]) -> bytes:
    """A SubscribeConfigurationResponse; the first of a subscription has no items."""
    return _written("SubscribeConfigurationResponse", items, id=id)


def write_unsubscribed(why_not: str) -> bytes:
    """An UnsubscribeConfigurationResponse; "" if there is no subscription any more."""
    message = RUNTIME_SCHEMA.UnsubscribeConfigurationResponse(ok=not why_not, message=why_not)
    return bytes(message.SerializeToString(deterministic=True))


def _written(name: str, items: Mapping[str, Item], **fields: str) -> bytes:
    message = getattr(RUNTIME_SCHEMA, name)(**fields)
    for key, item in items.items():
        written = message.items[key]
        written.value, written.version = item.value, item.version
        written.metadata.update(item.metadata)
    return bytes(message.SerializeToString(deterministic=True))
