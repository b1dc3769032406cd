"""What the OpenAPI document says of state: keys, and the bodies of requests and answers."""

from __future__ import annotations

from typing import Any

from perdure.remote.http.operations import Body
from perdure.remote.state import BULK_KEYS_MAX, CONTENT_TYPE, EXPIRES, TTL
from perdure.stores.values.contract import CONTENT_TYPE_CHARACTERS_MAX, KEY_BYTES_MAX, OPERATIONS_MAX

STATE_KEY = {
    "type": "string",
    "minLength": 1,
    # because a schema counts characters; half of it is left to the prefix
    "maxLength": KEY_BYTES_MAX // 8,
    "pattern": r"^[^\u0000-\u001f\u007f|]+$",
}
_METADATA = {
    "type": "object",
    "properties": {
        TTL: {"type": "string", "pattern": "^(-1|[1-9][0-9]{0,8})$"},
        CONTENT_TYPE: {"type": "string", "maxLength": CONTENT_TYPE_CHARACTERS_MAX},
    },
    "additionalProperties": {"type": "string"},
}
_STATE = {
    "type": "object",
    "required": ["key", "value"],
    "additionalProperties": False,
    "properties": {
        "key": STATE_KEY,
        "value": {"description": "Any JSON."},
        "etag": {"type": "string", "description": "That of the value that this one replaces."},
        "metadata": _METADATA,
        "options": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "concurrency": {"enum": ["first-write", "last-write"]},
                "consistency": {"enum": ["eventual", "strong"]},
            },
        },
    },
}
BODIES: dict[Body, dict[str, Any]] = {
    Body.STATES: {"type": "array", "maxItems": OPERATIONS_MAX, "items": _STATE},
    Body.KEYS: {
        "type": "object",
        "required": ["keys"],
        "additionalProperties": False,
        "properties": {
            "keys": {"type": "array", "maxItems": BULK_KEYS_MAX, "items": STATE_KEY},
            "parallelism": {"type": "integer", "minimum": 0, "maximum": BULK_KEYS_MAX},
        },
    },
    Body.TRANSACTION: {
        "type": "object",
        "required": ["operations"],
        "additionalProperties": False,
        "properties": {
            "operations": {
                "type": "array",
                "maxItems": OPERATIONS_MAX,
                "items": {
                    "type": "object",
                    "required": ["operation", "request"],
                    "additionalProperties": False,
                    "properties": {"operation": {"enum": ["upsert", "delete"]}, "request": _STATE},
                },
            },
            "metadata": _METADATA,
        },
    },
}
SHAPES: dict[str, Any] = {
    "Value": {"description": "The value as it was saved; its ETag is in the header of that name."},
    "States": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["key"],
            "additionalProperties": False,
            "properties": {
                "key": {"type": "string"},
                "data": {"description": "The value; absent if there is none."},
                "etag": {"type": "string"},
                "metadata": {
                    "type": "object",
                    "properties": {EXPIRES: {"type": "string"}, CONTENT_TYPE: {"type": "string"}},
                },
            },
        },
    },
}
