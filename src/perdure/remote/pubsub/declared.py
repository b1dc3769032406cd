"""What a program's port is to be given: subscriptions of files, and those that the program tells itself. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from perdure.blocks.resources import BulkSubscribe, Subscription
from perdure.errors import InvalidArgument
from perdure.remote.requests import Origin, TopicSubscription

SUBSCRIPTIONS_MAX = 1_000
"""How many a program may tell of."""


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """Messages of a topic go to a path of the program. `rules` are pairs of a condition, "" for none, and a path."""

    pubsub: str
    topic: str
    origin: Origin
    rules: tuple[tuple[str, str], ...]
    metadata: Mapping[str, str] = {}
    dead_letter: str | None = None
    bulk: BulkSubscribe | None = None

    @property
    def shown(self) -> TopicSubscription:
        """As metadata tell of it."""
        return TopicSubscription(
            pubsub=self.pubsub,
            topic=self.topic,
            origin=self.origin,
            rules=self.rules,
            metadata=self.metadata,
            dead_letter_topic=self.dead_letter or "",
        )


class _Rule(msgspec.Struct, frozen=True):
    path: str
    match: str = ""


class _Routes(msgspec.Struct, frozen=True):
    rules: tuple[_Rule, ...] = ()
    default: str = ""


class _Bulk(msgspec.Struct, rename="camel"):
    enabled: bool = False
    max_messages_count: int = 0
    max_await_duration_ms: int = 0


class _Told(msgspec.Struct):
    """One entry of what a program tells; names as Dapr's SDKs write them."""

    pubsubname: str
    topic: str
    route: str = ""
    routes: _Routes = _Routes()
    metadata: dict[str, Any] | None = None
    dead_letter_topic: str | None = msgspec.field(default=None, name="deadLetterTopic")
    bulk_subscribe: _Bulk | None = msgspec.field(default=None, name="bulkSubscribe")


_read = msgspec.json.Decoder(list[_Told] | None).decode


def of_files(subscriptions: Sequence[Subscription]) -> list[Declared]:
    """Those that resource files declare."""
    return [
        Declared(
            pubsub=one.pubsub,
            topic=one.topic,
            origin=Origin.DECLARATIVE,
            rules=rules_of([(rule.match, rule.path) for rule in one.rules], one.path or None),
            metadata=one.metadata,
            dead_letter=one.dead_letter_topic,
            bulk=one.bulk,
        )
        for one in subscriptions
    ]


def of_program(body: bytes) -> list[Declared]:
    """Those that a program answers when it is asked over HTTP. Raises InvalidArgument."""
    try:
        told = _read(body) if body.strip() else None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"the program's answer to /dapr/subscribe is no list of subscriptions: {error}") from None
    check_count(len(told or ()))
    return [_declared(one) for one in told or ()]


def check_count(told: int) -> None:
    """Raises InvalidArgument if a program tells of more subscriptions than there may be."""
    if told > SUBSCRIPTIONS_MAX:
        raise InvalidArgument(f"the program tells of more than {SUBSCRIPTIONS_MAX:,} subscriptions; let it have fewer")


def bulk_of(messages_max: int, wait_milliseconds: int) -> BulkSubscribe:
    """What a program says of messages that come many at a time; 0 means that it says nothing."""
    return BulkSubscribe(messages_max=messages_max or None, wait_milliseconds=wait_milliseconds or None)


def rules_of(rules: Sequence[tuple[str, str]], default: str | None) -> tuple[tuple[str, str], ...]:
    """The rules with their paths; `default` is that of what no rule is true of, None for nowhere."""
    return tuple(rules) if default is None else (*rules, ("", default))


def together(told: Sequence[Declared], declared: Sequence[Declared]) -> list[Declared]:
    """All of them; what a program tells of a topic itself comes before what a file says of it."""
    found = {(one.pubsub, one.topic): one for one in declared}
    found.update({(one.pubsub, one.topic): one for one in told})
    return list(found.values())


def _declared(one: _Told) -> Declared:
    bulk = one.bulk_subscribe
    return Declared(
        pubsub=one.pubsubname,
        topic=one.topic,
        origin=Origin.PROGRAMMATIC,
        rules=rules_of([(rule.match, rule.path) for rule in one.routes.rules], one.routes.default or one.route or None),
        metadata={name: str(value) for name, value in (one.metadata or {}).items()},
        dead_letter=one.dead_letter_topic or None,
        bulk=bulk_of(bulk.max_messages_count, bulk.max_await_duration_ms)
        if bulk is not None and bulk.enabled
        else None,
    )
