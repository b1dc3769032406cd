"""The workflow calls, metadata and shutdown of Dapr's own API, as programs with an older SDK make them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from perdure.clock import to_microseconds
from perdure.codec import Payload
from perdure.errors import MalformedMessage
from perdure.remote.requests import (
    AboutInstance,
    Flavour,
    InstanceView,
    Metadata,
    Pause,
    Purge,
    RaiseEvent,
    SetMetadata,
    StartInstance,
    Terminate,
    TopicSubscription,
)
from perdure.remote.wire.instance_answers import shown_status, write_id
from perdure.remote.wire.payloads import payload_of, text_of
from perdure.remote.wire.schema import RUNTIME_SCHEMA

_START_TIME = "dapr.workflow.start_time"
_PROPERTY = "dapr.workflow."
_WORDS = {"continued": "CONTINUED_AS_NEW"}


def read_start(data: bytes) -> StartInstance:
    """A StartWorkflowRequest. Raises MalformedMessage."""
    message = RUNTIME_SCHEMA.parse("StartWorkflowRequest", data)
    return StartInstance(
        name=message.workflow_name,
        instance=message.instance_id,
        input=_payload(message.input),
        scheduled=_start_time(message.options.get(_START_TIME, "")),
        app=_app(message),
    )


def read_about(data: bytes) -> AboutInstance:
    """A GetWorkflowRequest, which always shows payloads. Raises MalformedMessage."""
    message = RUNTIME_SCHEMA.parse("GetWorkflowRequest", data)
    return AboutInstance(instance=message.instance_id, with_payloads=True, app=_app(message))


def read_raise(data: bytes) -> RaiseEvent:
    """A RaiseEventWorkflowRequest. Raises MalformedMessage."""
    message = RUNTIME_SCHEMA.parse("RaiseEventWorkflowRequest", data)
    return RaiseEvent(
        instance=message.instance_id,
        name=message.event_name,
        data=_payload(message.event_data),
        app=_app(message),
    )


def read_terminate(data: bytes) -> Terminate:
    """A TerminateWorkflowRequest, which takes the children with it. Raises MalformedMessage."""
    message = RUNTIME_SCHEMA.parse("TerminateWorkflowRequest", data)
    return Terminate(instance=message.instance_id, recursive=True, app=_app(message))


def read_pause(data: bytes) -> Pause:
    """A PauseWorkflowRequest or ResumeWorkflowRequest. Raises MalformedMessage."""
    message = RUNTIME_SCHEMA.parse("PauseWorkflowRequest", data)
    return Pause(instance=message.instance_id, app=_app(message))


def read_purge(data: bytes) -> Purge:
    """A PurgeWorkflowRequest, which takes the children with it. Raises MalformedMessage."""
    message = RUNTIME_SCHEMA.parse("PurgeWorkflowRequest", data)
    return Purge(instances=[message.instance_id], recursive=True, app=_app(message))


def read_set_metadata(data: bytes) -> SetMetadata:
    """A SetMetadataRequest. Raises MalformedMessage."""
    message = RUNTIME_SCHEMA.parse("SetMetadataRequest", data)
    return SetMetadata(key=message.key, value=message.value)


write_started = write_id


def write_view(view: InstanceView) -> bytes:
    """A GetWorkflowResponse. Raises NotDecodable for packed payloads."""
    shown = shown_status(view, Flavour.DAPR)
    message = RUNTIME_SCHEMA.GetWorkflowResponse(
        instance_id=view.instance,
        workflow_name=view.name,
        runtime_status=_WORDS.get(shown, shown.upper()),
        properties=dict(_properties(view)),
    )
    message.created_at.FromMicroseconds(view.created)
    message.last_updated_at.FromMicroseconds(view.updated)
    return _bytes(message)


def write_metadata(metadata: Metadata) -> bytes:
    """A GetMetadataResponse."""
    message = RUNTIME_SCHEMA.GetMetadataResponse(
        id=metadata.app,
        runtime_version=metadata.version,
        extended_metadata=metadata.values,
        enabled_features=metadata.features,
        registered_components=[
            RUNTIME_SCHEMA.RegisteredComponents(
                name=one.name, type=one.type, version=one.version, capabilities=one.capabilities
            )
            for one in metadata.components
        ],
        subscriptions=[_subscription(one) for one in metadata.subscriptions],
        mcp_servers=[RUNTIME_SCHEMA.MetadataMCPServer(name=name) for name in metadata.mcp_servers],
    )
    message.workflows.connected_workers = metadata.workers
    _add_actors(message, metadata.actors)
    return _bytes(message)


def _subscription(one: TopicSubscription) -> Any:
    rules = [RUNTIME_SCHEMA.PubsubSubscriptionRule(match=match, path=path) for match, path in one.rules]
    return RUNTIME_SCHEMA.PubsubSubscription(
        pubsub_name=one.pubsub,
        topic=one.topic,
        metadata=one.metadata,
        rules=RUNTIME_SCHEMA.PubsubSubscriptionRules(rules=rules),
        dead_letter_topic=one.dead_letter_topic,
        type=f"PUBSUB_SUBSCRIPTION_TYPE_{one.origin}",
    )


def _add_actors(message: Any, actors: Mapping[str, int] | None) -> None:
    """Twice, because older programs look in the older place."""
    if actors is None:
        message.actor_runtime.runtime_status = "ACTOR_RUNTIME_STATUS_DISABLED"
        return
    counts = [RUNTIME_SCHEMA.ActiveActorsCount(type=type, count=count) for type, count in actors.items()]
    message.active_actors_count.extend(counts)
    message.actor_runtime.active_actors.extend(counts)
    message.actor_runtime.runtime_status = "ACTOR_RUNTIME_STATUS_RUNNING"
    message.actor_runtime.host_ready = True


def _bytes(message: Any) -> bytes:
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def _properties(view: InstanceView) -> Mapping[str, str]:
    found: dict[str, str | None] = {
        "input": _text(view.input),
        "output": _text(view.output),
        "custom_status": _text(view.custom_status),
    }
    if view.failure is not None:
        found |= {
            "failure.error_type": view.failure.type,
            "failure.error_message": view.failure.message,
            "failure.stack_trace": view.failure.stack,
        }
    return {_PROPERTY + key: text for key, text in found.items() if text is not None}


def _text(payload: Payload | None) -> str | None:
    return text_of(payload).decode() if payload is not None else None


def _payload(data: bytes) -> Payload | None:
    try:
        return payload_of(data.decode()) if data else None
    except UnicodeDecodeError:
        raise MalformedMessage("the input of a workflow and the data of an event are text; send UTF-8") from None


def _start_time(text: str) -> int | None:
    if not text:
        return None
    try:
        return to_microseconds(datetime.fromisoformat(text))
    except (ValueError, TypeError, OverflowError):
        raise MalformedMessage(f"{_START_TIME} is {text[:40]!r}; send an instant like 2030-01-01T00:00:00Z") from None


def _app(message: Any) -> str | None:
    return message.app_id if message.HasField("app_id") else None
