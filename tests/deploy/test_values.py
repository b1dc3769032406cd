"""Values of the chart: each has a default and a schema, and what cannot be meant is refused with its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from tests.deploy.places import CHART, REFUSED_BY_SCHEMA, VALUES, defaults, merged, of_the_page, read

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
FROM_ABOVE = {"global"}
"""What a chart that has this one in it may add."""


def faults(values: dict[str, Any]) -> list[str]:
    found = Draft7Validator(SCHEMA).iter_errors(merged(defaults(), values))
    return ["".join(f"/{part}" for part in fault.absolute_path) for fault in found]


def described(schema: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, part in schema.get("properties", {}).items():
        yield f"{above}/{name}"
        yield from described(part, f"{above}/{name}")


def given(values: dict[str, Any], schema: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield f"{above}/{name}"
        inner = schema.get("properties", {}).get(name, {})
        if isinstance(value, dict) and "properties" in inner:
            yield from given(value, inner, f"{above}/{name}")


def closed(schema: dict[str, Any]) -> Iterator[bool]:
    if "properties" in schema:
        yield schema["additionalProperties"] is False
        for part in schema["properties"].values():
            yield from closed(part)


def test_the_schema_is_one():
    Draft7Validator.check_schema(SCHEMA)
    assert all(closed(SCHEMA))


def test_every_value_has_a_default_and_is_described():
    assert set(given(defaults(), SCHEMA)) == set(described(SCHEMA)) - {f"/{name}" for name in FROM_ABOVE}


@pytest.mark.parametrize("file", VALUES, ids=lambda file: file.stem)
def test_the_sets_that_the_chart_is_tried_with_fit(file):
    assert faults(read(file)) == []


@pytest.mark.parametrize("values, place", REFUSED_BY_SCHEMA, ids=str)
def test_what_cannot_be_meant_is_refused(values, place):
    assert faults(values) == [place]


def test_the_values_of_the_page_fit():
    assert faults(yaml.safe_load(of_the_page("yaml", "run: app"))) == []
    assert faults(yaml.safe_load(of_the_page("yaml", "scaler:"))) == []


def test_the_chart_is_of_this_version():
    from perdure import __version__

    assert read(CHART / "Chart.yaml")["appVersion"] == __version__
