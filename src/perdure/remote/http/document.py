"""The OpenAPI document of the table of operations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from perdure.remote.http.bodies import BODY_BYTES_MAX
from perdure.remote.http.configuration import KEYS_MAX
from perdure.remote.http.document_conversation import BODIES as SAID
from perdure.remote.http.document_state import BODIES, SHAPES, STATE_KEY
from perdure.remote.http.operations import OPERATIONS, Body, Operation, Version
from perdure.remote.http.parameters import NEW_ID_BYTES_MAX
from perdure.remote.pubsub.desk import BULK_MAX
from perdure.remote.security import TOKEN_KEY, Policy
from perdure.sdk.client import SURVEY_LIMIT
from perdure.sdk.options import ID_BYTES_MAX, NAME_CHARACTERS_MAX

FAULTS_OF_ALL = (400, 401, 403, 500, 503)


_SUFFIXES = {Version.BETA: "Beta1", Version.ALPHA: "Alpha1", Version.ALPHA2: "Alpha2"}
BLOCKS = {
    "storeName": "state",
    "secretStore": "secretstores",
    "configurationStore": "configuration",
    "conversationComponent": "conversation",
}
"""Parameters of paths that name a component, and its block."""


def document(policy: Policy, components: Mapping[str, Sequence[str]] | None = None) -> dict[str, Any]:
    """The document of a port with this policy, OpenAPI 3.1, as JSON types; `components` by the parameter for them."""
    paths: dict[str, dict[str, Any]] = {}
    there = components or {}
    for operation in OPERATIONS:
        for path, version in operation.paths().items():
            paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, version, policy, there)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Perdure",
            "version": "1.0",
            "summary": "Dapr's workflow API over HTTP.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": TOKEN_KEY}},
        },
    }


def _operation(
    operation: Operation, version: Version | None, policy: Policy, components: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    suffix = _SUFFIXES.get(version or Version.STABLE, "")
    in_path = [_in_path(name, components.get(name, ())) for name in re.findall(r"{(\w+)}", operation.path)]
    in_headers = [{"name": name, "in": "header", "required": False, **_IN_HEADERS[name]} for name in operation.headers]
    described: dict[str, Any] = {
        "operationId": operation.id + suffix,
        "summary": operation.summary,
        "parameters": in_path + [_in_query(name, policy) for name in operation.query] + in_headers,
        "responses": _responses(operation),
        "security": [{"token": []}] if policy.api_token is not None and not operation.open else [],
    }
    if version is Version.ALPHA:
        described["deprecated"] = True
    if operation.body is not Body.NONE:
        described["requestBody"] = _BODIES[operation.body]
    return described


def _responses(operation: Operation) -> dict[str, Any]:
    success: dict[str, Any] = {"description": HTTPStatus(operation.success).phrase}
    if operation.shape:
        success["content"] = {operation.media: {"schema": _reference(operation.shape)}}
    empty = {"204": {"description": HTTPStatus(204).phrase}} if operation.empty else {}
    # a path whose parameter is empty, or cut off by a character that was to be escaped, is no operation's
    unrouted = (404,) if "{" in operation.path else ()
    statuses = sorted({*FAULTS_OF_ALL, *operation.faults, *unrouted})
    return {str(operation.success): success, **empty, **{str(status): _fault(status) for status in statuses}}


def _fault(status: int) -> dict[str, Any]:
    content = {"application/json": {"schema": _reference("Fault")}}
    return {"description": HTTPStatus(status).phrase, "content": content}


def _reference(shape: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{shape}"}


def _in_path(name: str, there: Sequence[str]) -> dict[str, Any]:
    described = {"name": name, "in": "path", "required": True, **_IN_PATH[name]}
    if there:
        described["schema"] = {"enum": list(there)}
    return described


def _in_query(name: str, policy: Policy) -> dict[str, Any]:
    described = {"name": name, "in": "query", "required": False, **_IN_QUERY[name]}
    if name == "appID" and policy.all_apps_token is None:
        described["schema"] = {"enum": [policy.app_id]}
    return described


_PRINTABLE = r"^[ -~\u00a1-\u00ac\u00ae-\u0377]+$"
"""Part of what is printable, because patterns that name all of it are not understood everywhere."""
_NAME = {"type": "string", "minLength": 1, "maxLength": NAME_CHARACTERS_MAX, "pattern": _PRINTABLE}
_IN_PATH: dict[str, dict[str, Any]] = {
    "workflowComponent": {"description": "`dapr`; not looked at.", "schema": {"type": "string", "minLength": 1}},
    "workflowName": {
        "description": "The name of the workflow; printable characters of other scripts pass too.",
        "schema": _NAME,
    },
    "eventName": {
        "description": "The name of the event; printable characters of other scripts pass too.",
        "schema": _NAME,
    },
    "pubsubName": {
        "description": "The name of a pub/sub component; printable characters of other scripts pass too.",
        "schema": _NAME,
    },
    "topic": {
        "description": "The name of the topic; printable characters of other scripts pass too.",
        "schema": _NAME,
    },
    "key": {
        "description": "The name of the attribute; printable characters of other scripts pass too.",
        "schema": _NAME,
    },
    "storeName": {"description": "The name of a state store.", "schema": {"type": "string", "minLength": 1}},
    "secretStore": {"description": "The name of a secret store.", "schema": {"type": "string", "minLength": 1}},
    "secretKey": {"description": "The name of the secret.", "schema": {"type": "string", "minLength": 1}},
    "configurationStore": {
        "description": "The name of a configuration store.",
        "schema": {"type": "string", "minLength": 1},
    },
    "subscriptionId": {
        "description": "What subscribing has answered.",
        "schema": {"type": "string", "minLength": 1, "pattern": _PRINTABLE},
    },
    "conversationComponent": {
        "description": "The name of a component of the block `conversation`.",
        "schema": {"type": "string", "minLength": 1},
    },
    "stateKey": {"description": "The key; a slash in it has to be escaped.", "schema": STATE_KEY},
    "instanceID": {
        "description": f"The id of the instance, at most {ID_BYTES_MAX} bytes; a slash in it has to be escaped.",
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": ID_BYTES_MAX // 4,  # because a schema counts characters
            "pattern": r"^[^\u0000-\u001f\u007f]+$",
        },
    },
}
_IN_QUERY: dict[str, dict[str, Any]] = {
    "instanceID": {
        "description": "The id for the instance, of letters, digits, `_` and `-`; without it one is made.",
        "schema": {"type": "string", "maxLength": NEW_ID_BYTES_MAX, "pattern": "^[A-Za-z0-9_-]*$"},
    },
    "workflowName": {"description": "Instances of this workflow alone.", "schema": _NAME},
    "limit": {
        "description": "At how many instances to look, the newest.",
        "schema": {"type": "integer", "minimum": 1, "maximum": SURVEY_LIMIT},
    },
    "key": {
        "description": "The items that it is about, given again for each; without it all.",
        "schema": {"type": "array", "maxItems": KEYS_MAX, "items": {"type": "string"}},
    },
    "cursor": {"description": "Where the answer before says that it goes on.", "schema": {"type": "string"}},
    "consistency": {
        "description": "Read over, because every store here is strongly consistent.",
        "schema": {"enum": ["eventual", "strong"]},
    },
    "concurrency": {
        "description": "Whether the ETag counts; with `last-write` it does not.",
        "schema": {"enum": ["first-write", "last-write"]},
    },
    "appID": {"description": "The app; a port serves one, and others with a token for all.", "schema": _NAME},
}
_IN_HEADERS: dict[str, dict[str, Any]] = {
    "If-Match": {
        "description": "The ETag that the value has to have.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]*$"},
    },
}
_BODIES: dict[Body, dict[str, Any]] = {
    **{
        body: {"required": True, "content": {"application/json": {"schema": shape}}}
        for body, shape in {**BODIES, **SAID}.items()
    },
    Body.VALUE: {
        "description": (
            f"At most {BODY_BYTES_MAX} bytes of UTF-8. JSON is handed on verbatim, other text as text, and nothing as "
            "null. What is declared as JSON has to be JSON."
        ),
        "required": False,
        "content": {"application/json": {"schema": {}}, "text/plain": {"schema": {"type": "string"}}},
    },
    Body.BYTES: {
        "description": f"At most {BODY_BYTES_MAX} bytes of any kind; the header `content-type` says of which.",
        "required": False,
        "content": {"application/octet-stream": {"schema": {}}, "application/json": {"schema": {}}},
    },
    Body.ENTRIES: {
        "description": "Events, each under an id of its own by which it is told whether it was published.",
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "array",
                    "maxItems": BULK_MAX,
                    "items": {
                        "type": "object",
                        "required": ["entryId", "event"],
                        "properties": {
                            "entryId": {"type": "string", "minLength": 1},
                            "event": {},
                            "contentType": {"type": "string"},
                            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
                        },
                    },
                }
            }
        },
    },
    Body.TEXT: {
        "description": "UTF-8.",
        "required": False,
        "content": {"text/plain": {"schema": {"type": "string"}}},
    },
}
_TEXT = {"type": "string"}
_COUNTS = {
    "unfinished": "Workflows that have not ended.",
    "ready": "Instances that have a turn to take.",
    "offered": "Activity calls that wait for a slot of any node.",
    "claimed": "Activity calls that a node has claimed of those.",
    "calls": "Activity calls that the owner of their instance runs, or lets wait in a queue.",
    "nodes": "Nodes that live and have the app's code.",
    "slots": "Attempts that they run at once.",
    "busy": "Attempts that they ran when they last told.",
}
_MOMENT = {"type": ["string", "null"], "format": "date-time"}
_SCHEMAS: dict[str, Any] = {
    "Started": {"type": "object", "required": ["instanceID"], "properties": {"instanceID": _TEXT}},
    "Empty": {"type": "object", "maxProperties": 0},
    "Document": {"type": "object", "required": ["openapi", "paths"]},
    "Instance": {
        "type": "object",
        "required": ["instanceID", "workflowName", "createdAt", "lastUpdatedAt", "runtimeStatus", "properties"],
        "additionalProperties": False,
        "properties": {
            "instanceID": _TEXT,
            "workflowName": _TEXT,
            "createdAt": {"type": "string", "format": "date-time"},
            "lastUpdatedAt": {"type": "string", "format": "date-time"},
            "runtimeStatus": {
                "enum": [
                    "PENDING",
                    "RUNNING",
                    "SUSPENDED",
                    "STALLED",
                    "COMPLETED",
                    "FAILED",
                    "CANCELED",
                    "TERMINATED",
                ]
            },
            "properties": {
                "description": "`dapr.workflow.input`, `.output`, `.custom_status` and `.failure.error_type`, "
                "`.error_message`, `.stack_trace`: those that there are.",
                "type": "object",
                "additionalProperties": _TEXT,
            },
        },
    },
    "Explanation": {
        "type": "object",
        "required": ["instanceID", "cause", "sentence", "since", "next", "command", "line", "chain", "normal"],
        "additionalProperties": False,
        "properties": {
            "instanceID": _TEXT,
            "cause": {"type": "string", "description": "The id of a cause; the troubleshooting page has all of them."},
            "sentence": _TEXT,
            "since": _MOMENT,
            "next": {"type": "string", "description": "What happens by itself, and when; `nothing` if nothing does."},
            "command": {"type": ["string", "null"], "description": "What moves it; it lacks the server's address."},
            "line": {"type": ["string", "null"], "description": "The source line that waits."},
            "chain": {"type": "array", "items": _TEXT, "description": "Ids on the way to where the cause is."},
            "normal": {"type": "boolean", "description": "Whether nothing is wrong."},
        },
    },
    "Explanations": {
        "type": "object",
        "required": ["looked", "cursor", "causes"],
        "additionalProperties": False,
        "properties": {
            "looked": {"type": "integer", "description": "Instances that were looked at."},
            "cursor": {"type": ["string", "null"], "description": "Where to go on; null if there are no more."},
            "causes": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["cause", "count", "oldest", "normal", "example"],
                    "additionalProperties": False,
                    "properties": {
                        "cause": _TEXT,
                        "count": {"type": "integer"},
                        "oldest": _MOMENT,
                        "normal": {"type": "boolean"},
                        "example": {"$ref": "#/components/schemas/Explanation"},
                    },
                },
            },
        },
    },
    "Scaling": {
        "type": "object",
        "required": ["appID", "active", "waiting", "oldestSeconds", *_COUNTS],
        "additionalProperties": False,
        "properties": {
            "appID": _TEXT,
            "active": {"type": "boolean", "description": "Whether there has to be a node."},
            "waiting": {"type": "integer", "description": "What nobody does yet."},
            "oldestSeconds": {"type": "number", "description": "The age of what waits longest; 0 if nothing does."},
            **{name: {"type": "integer", "description": told} for name, told in _COUNTS.items()},
        },
    },
    "Metrics": {"type": "string"},
    "Secret": {"type": "object", "additionalProperties": _TEXT},
    "Secrets": {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/Secret"}},
    "Items": {
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "required": ["value", "version", "metadata"],
            "properties": {
                "value": _TEXT,
                "version": _TEXT,
                "metadata": {"type": "object", "additionalProperties": _TEXT},
            },
        },
    },
    "Subscribed": {"type": "object", "required": ["id"], "properties": {"id": _TEXT}},
    "Unsubscribed": {
        "type": "object",
        "required": ["ok"],
        "properties": {"ok": {"type": "boolean"}, "message": {"type": "string", "description": "Why it is not."}},
    },
    "Conversed": {"type": "object", "properties": {"outputs": {"type": "array"}}},
    **SHAPES,
    "Metadata": {
        "type": "object",
        "required": ["id", "extended"],
        "properties": {"id": _TEXT, "extended": {"type": "object", "additionalProperties": _TEXT}},
    },
    "Fault": {
        "type": "object",
        "required": ["errorCode", "message"],
        "additionalProperties": False,
        "properties": {"errorCode": _TEXT, "message": _TEXT},
    },
}
