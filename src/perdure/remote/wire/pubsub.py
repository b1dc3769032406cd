"""The messages of Dapr's pub/sub calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from perdure.blocks.pubsub import Message, Verdict
from perdure.errors import MalformedMessage
from perdure.remote.cloudevents import SPEC_VERSION, attributes_of
from perdure.remote.pubsub.publishing import Publish
from perdure.remote.pubsub.streamed import Answered, Frame, Opened
from perdure.remote.wire.schema import RUNTIME_SCHEMA as SCHEMA

SUBSCRIBED: bytes = SCHEMA.SubscribeTopicEventsResponseAlpha1(
    initial_response=SCHEMA.SubscribeTopicEventsResponseInitialAlpha1()
).SerializeToString()
"""The first message of a stream."""
VERDICTS = (Verdict.SUCCESS, Verdict.RETRY, Verdict.DROP)
"""By their numbers."""


class Bulk(msgspec.Struct, frozen=True, kw_only=True):
    """Events that are published together, each under the id of its entry."""

    pubsub: str
    topic: str
    events: tuple[tuple[str, Publish], ...]


def read_publish(data: bytes) -> Publish:
    """A PublishEventRequest. Raises MalformedMessage."""
    message = SCHEMA.parse("PublishEventRequest", data)
    return Publish(
        pubsub=message.pubsub_name,
        topic=message.topic,
        data=message.data,
        content_type=message.data_content_type,
        metadata=dict(message.metadata),
    )


def read_bulk(data: bytes) -> Bulk:
    """A BulkPublishRequest; metadata of an entry come before those of all. Raises MalformedMessage."""
    message = SCHEMA.parse("BulkPublishRequest", data)
    ids = [entry.entry_id for entry in message.entries]
    if not all(ids) or len(set(ids)) != len(ids):
        raise MalformedMessage("each entry of a bulk has an entry_id of its own; give every entry another one")
    return Bulk(
        pubsub=message.pubsub_name,
        topic=message.topic,
        events=tuple(
            (
                entry.entry_id,
                Publish(
                    pubsub=message.pubsub_name,
                    topic=message.topic,
                    data=entry.event,
                    content_type=entry.content_type,
                    metadata={**message.metadata, **entry.metadata},
                ),
            )
            for entry in message.entries
        ),
    )


def write_bulk(bulk: Bulk, outcomes: Sequence[Exception | None]) -> bytes:
    """A BulkPublishResponse."""
    failed = [
        SCHEMA.BulkPublishResponseFailedEntry(entry_id=id, error=str(error))
        for (id, _), error in zip(bulk.events, outcomes, strict=True)
        if error is not None
    ]
    return _bytes(SCHEMA.BulkPublishResponse(failedEntries=failed))


def read_frame(data: bytes) -> Frame:
    """A SubscribeTopicEventsRequestAlpha1. Raises MalformedMessage."""
    message = SCHEMA.parse("SubscribeTopicEventsRequestAlpha1", data)
    if message.HasField("initial_request"):
        asked = message.initial_request
        return Opened(
            pubsub=asked.pubsub_name,
            topic=asked.topic,
            metadata=dict(asked.metadata),
            dead_letter=asked.dead_letter_topic or None,
        )
    if message.HasField("event_processed"):
        status = message.event_processed.status.status
        if not 0 <= status < len(VERDICTS):
            raise MalformedMessage(f"status {status} of a message is none; say SUCCESS, RETRY or DROP")
        return Answered(message.event_processed.id, VERDICTS[status])
    raise MalformedMessage("a frame of a topic's stream says nothing; is the peer of another version?")


def write_event(message: Message, pubsub: str) -> bytes:
    """A SubscribeTopicEventsResponseAlpha1 with the event."""
    return _bytes(SCHEMA.SubscribeTopicEventsResponseAlpha1(event_message=topic_event(message, pubsub)))


def topic_event(message: Message, pubsub: str, path: str = "") -> Any:
    """A TopicEventRequest, as the message that it is."""
    event = SCHEMA.TopicEventRequest(**fields_of(message), topic=message.topic, pubsub_name=pubsub, path=path)
    event.extensions.update(attributes_of(message))
    return event


def fields_of(message: Message) -> dict[str, Any]:
    """What an event has in each of its forms, but for its extensions."""
    return {
        "id": message.id,
        "source": message.source,
        "type": message.type,
        "spec_version": SPEC_VERSION,
        "data_content_type": message.content_type,
        "data": message.data,
    }


def _bytes(message: Any) -> bytes:
    data: bytes = message.SerializeToString(deterministic=True)
    return data
