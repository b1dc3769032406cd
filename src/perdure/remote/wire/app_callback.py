"""The messages of the calls that a program of Dapr answers itself, on the port on which it listens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perdure.blocks.pubsub import Message, Verdict
from perdure.remote.cloudevents import MEDIA_TYPE, attributes_of
from perdure.remote.pubsub.declared import Declared, bulk_of, check_count, rules_of
from perdure.remote.pubsub.port import BULK_TYPE, Bulk
from perdure.remote.requests import Origin
from perdure.remote.wire.pubsub import VERDICTS, fields_of, topic_event
from perdure.remote.wire.schema import RUNTIME_SCHEMA as SCHEMA

_SERVICE = "/dapr.proto.runtime.v1.AppCallback"
SUBSCRIPTIONS = f"{_SERVICE}/ListTopicSubscriptions"
EVENT = f"{_SERVICE}/OnTopicEvent"
BULKS = (f"{_SERVICE}/OnBulkTopicEvent", f"{_SERVICE}Alpha/OnBulkTopicEventAlpha1")
"""Older programs know the second alone."""


def read_subscriptions(data: bytes) -> list[Declared]:
    """A ListTopicSubscriptionsResponse. Raises MalformedMessage, InvalidArgument."""
    told = SCHEMA.parse("ListTopicSubscriptionsResponse", data).subscriptions
    check_count(len(told))
    return [_declared(one) for one in told]


def write_event(message: Message, declared: Declared, path: str) -> bytes:
    """A TopicEventRequest."""
    return _bytes(topic_event(message, declared.pubsub, path))


def read_verdict(data: bytes) -> Verdict:
    """A TopicEventResponse, or nothing at all, which means success. Raises MalformedMessage."""
    return _verdict(SCHEMA.parse("TopicEventResponse", data).status)


def write_bulk(bulk: Bulk, declared: Declared, path: str) -> bytes:
    """A TopicEventBulkRequest."""
    asked = SCHEMA.TopicEventBulkRequest(
        id=bulk.id,
        entries=[_entry(one.id, one.message) for one in bulk.events],
        metadata=dict(declared.metadata),
        topic=declared.topic,
        pubsub_name=declared.pubsub,
        type=BULK_TYPE,
        path=path,
    )
    return _bytes(asked)


def read_verdicts(data: bytes) -> Mapping[str, Verdict]:
    """A TopicEventBulkResponse. Raises MalformedMessage."""
    statuses = SCHEMA.parse("TopicEventBulkResponse", data).statuses
    return {one.entry_id: _verdict(one.status) for one in statuses}


def _declared(one: Any) -> Declared:
    """What names no route goes to the empty path, where the program finds it by its topic."""
    bulk, routes = one.bulk_subscribe, one.routes
    default = routes.default or (None if routes.rules else "")
    return Declared(
        pubsub=one.pubsub_name,
        topic=one.topic,
        origin=Origin.PROGRAMMATIC,
        rules=rules_of([(rule.match, rule.path) for rule in routes.rules], default),
        metadata=dict(one.metadata),
        dead_letter=one.dead_letter_topic or None,
        bulk=bulk_of(bulk.max_messages_count, bulk.max_await_duration_ms) if bulk.enabled else None,
    )


def _entry(id: str, message: Message) -> Any:
    event = SCHEMA.TopicEventCERequest(**fields_of(message))
    event.extensions.update(attributes_of(message))
    return SCHEMA.TopicEventBulkRequestEntry(entry_id=id, cloud_event=event, content_type=MEDIA_TYPE)


def _verdict(status: int) -> Verdict:
    """What is none of the words means that it comes again, as over HTTP."""
    return VERDICTS[status] if 0 <= status < len(VERDICTS) else Verdict.RETRY


def _bytes(message: Any) -> bytes:
    data: bytes = message.SerializeToString(deterministic=True)
    return data
