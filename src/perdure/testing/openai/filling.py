"""Knows how to fill a JSON schema: the smallest value that it allows, the same each time."""

from __future__ import annotations

from typing import Any

MAX_DEPTH = 12
"""Levels of a schema that are filled; a schema that asks for more refers to itself without an end."""

FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
"""The strings that stand for a format."""


def fill(schema: dict[str, Any]) -> Any:
    """A value the schema allows; ValueError when it needs more than `MAX_DEPTH` levels."""
    return _fill(schema, schema, 0)


def _fill(schema: Any, root: dict[str, Any], depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError(f"the schema needs more than {MAX_DEPTH} levels; give the answer with [[answer ...]]")
    if not isinstance(schema, dict):
        return None
    schema = _followed(schema, root)
    if "const" in schema:
        return schema["const"]
    if "default" in schema:
        return schema["default"]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf"):
        if schema.get(choice):
            return _fill(schema[choice][0], root, depth + 1)
    if schema.get("allOf"):
        return _fill(_joined(schema["allOf"], root), root, depth + 1)
    return _of_type(schema, root, depth)


def _of_type(schema: dict[str, Any], root: dict[str, Any], depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "null")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            # all properties, because a strict schema requires them all and another allows them
            return {name: _fill(each, root, depth + 1) for name, each in schema.get("properties", {}).items()}
        case "array":
            return [_fill(schema.get("items", {}), root, depth + 1) for _ in range(schema.get("minItems", 0))]
        case "string":
            return _string(schema)
        case "integer":
            return int(_number(schema))
        case "number":
            return float(_number(schema))
        case "boolean":
            return True
        case _:
            return None


def _string(schema: dict[str, Any]) -> str:
    text = FORMATS.get(schema.get("format", ""), "text").ljust(schema.get("minLength", 0), ".")
    return text[: schema.get("maxLength", len(text))]


def _number(schema: dict[str, Any]) -> float:
    if "minimum" in schema:
        return float(schema["minimum"])
    if "exclusiveMinimum" in schema:
        return float(schema["exclusiveMinimum"]) + 1
    return min(1.0, float(schema.get("maximum", 1)), float(schema.get("exclusiveMaximum", 2)) - 1)


def _followed(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    seen = 0
    while "$ref" in schema and seen < MAX_DEPTH:
        target: Any = root
        for part in str(schema["$ref"]).split("/")[1:]:
            target = target[part]
        schema, seen = target, seen + 1
    return schema


def _joined(schemas: list[dict[str, Any]], root: dict[str, Any]) -> dict[str, Any]:
    joined: dict[str, Any] = {}
    for each in schemas:
        each = _followed(each, root)
        joined = {**joined, **each, "properties": {**joined.get("properties", {}), **each.get("properties", {})}}
    return joined
