"""Instances, and the server itself, as Dapr's API shows them."""

from __future__ import annotations

from typing import Any

from perdure.clock import LATEST, to_datetime, to_microseconds
from perdure.codec import NULL, Payload, is_packed
from perdure.engine.load import Load
from perdure.history.state import Explanation, InstanceState, Survey
from perdure.remote.requests import Metadata, TopicSubscription
from perdure.remote.wire.payloads import text_of

PREFIX = "dapr.workflow."


def instance_view(state: InstanceState) -> dict[str, Any]:
    """The document of an instance; its payloads are texts among the properties, as they were given."""
    return {
        "instanceID": state.id,
        "workflowName": state.name,
        "createdAt": _moment(state.created),
        "lastUpdatedAt": _moment(state.updated),
        "runtimeStatus": runtime_status(state),
        "properties": _properties(state),
    }


def explanation_view(told: Explanation) -> dict[str, Any]:
    """Why an instance is not finished."""
    return {
        "instanceID": told.instance,
        "cause": told.cause,
        "sentence": told.sentence,
        "since": _moment(to_microseconds(told.since)) if told.since is not None else None,
        "next": told.next,
        "command": told.command,
        "line": told.line,
        "chain": list(told.chain),
        "normal": told.is_normal,
    }


def survey_view(survey: Survey) -> dict[str, Any]:
    """Unfinished instances by cause."""
    return {
        "looked": survey.looked,
        "cursor": survey.cursor,
        "causes": [
            {
                "cause": group.cause,
                "count": group.count,
                "oldest": _moment(to_microseconds(group.oldest)) if group.oldest is not None else None,
                "normal": group.is_normal,
                "example": explanation_view(group.example),
            }
            for group in survey.groups
        ],
    }


def load_view(load: Load) -> dict[str, Any]:
    """How much an app has to do, and how much room its nodes have."""
    return {
        "appID": load.app,
        "active": load.is_active,
        "waiting": load.waiting,
        "oldestSeconds": load.oldest_seconds,
        "unfinished": load.unfinished,
        "ready": load.ready,
        "offered": load.offered,
        "claimed": load.claimed,
        "calls": load.calls,
        "nodes": load.nodes,
        "slots": load.slots,
        "busy": load.busy,
    }


def metadata_view(told: Metadata) -> dict[str, Any]:
    """What a server tells of itself, but for the app and what programs have set. Actors are told twice, because older
    programs look in the older place."""
    actors = [{"type": type, "count": count} for type, count in (told.actors or {}).items()]
    return {
        "runtimeVersion": told.version,
        "enabledFeatures": list(told.features),
        "workflows": {"connectedWorkers": told.workers},
        "components": [
            {"name": one.name, "type": one.type, "version": one.version, "capabilities": list(one.capabilities)}
            for one in told.components
        ],
        "subscriptions": [_subscription_view(one) for one in told.subscriptions],
        "mcpServers": [{"name": name} for name in told.mcp_servers],
        "actors": actors,
        "actorRuntime": {
            "runtimeStatus": "DISABLED" if told.actors is None else "RUNNING",
            "activeActors": actors,
            "hostReady": told.actors is not None,
        },
    }


def _subscription_view(one: TopicSubscription) -> dict[str, Any]:
    return {
        "pubsubname": one.pubsub,
        "topic": one.topic,
        "rules": [{"match": match, "path": path} for match, path in one.rules],
        "metadata": dict(one.metadata),
        "deadLetterTopic": one.dead_letter_topic,
        "type": str(one.origin),
    }


def runtime_status(state: InstanceState) -> str:
    """One word where Perdure has a status and, beside it, whether the instance is suspended or stalled."""
    if not state.is_finished:
        if state.stalled is not None:
            return "STALLED"
        if state.suspended is not None:
            return "SUSPENDED"
    return state.status.upper()


def _properties(state: InstanceState) -> dict[str, str]:
    found = {
        "input": _text(state.input) if state.input is not None and state.input.data != NULL else None,
        "output": _text(state.output) if state.failure is None else None,
        "custom_status": _text(state.custom_status),
    }
    if state.failure is not None:
        found["failure.error_type"] = state.failure.type
        found["failure.error_message"] = state.failure.message
        found["failure.stack_trace"] = state.failure.stack
    return {PREFIX + name: text for name, text in found.items() if text is not None}


def _text(payload: Payload | None) -> str | None:
    """What the client had sent, or the JSON of a value; None if there is nothing, or nothing that can be read here."""
    if payload is None or is_packed(payload):
        return None
    return text_of(payload).decode()


def _moment(at: int) -> str:
    return to_datetime(min(at, LATEST)).isoformat().replace("+00:00", "Z")
