"""The dashboard and the alert rules ask for metrics and labels that there are, in PromQL that a parser accepts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from perdure.remote.exposition.families import FAMILIES, sample_names

ROOT = Path(__file__).resolve().parents[3]
BOARD = json.loads((ROOT / "deploy" / "grafana" / "perdure.json").read_text())
ALERTS = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]

TARGET = {"instance", "job", "pod", "namespace"}
"""Labels that Prometheus adds."""
LABELS = {name: {*family.all_labels, "le"} | TARGET for family in FAMILIES for name in sample_names(family)}
LABELS["process_resident_memory_bytes"] = TARGET


def board_queries() -> Iterator[str]:
    for panel in BOARD["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"].replace("$__rate_interval", "5m").replace("$app", "shop")


QUERIES = [*board_queries(), *(rule["expr"] for rule in RULES)]


def selectors(node: Any) -> Iterator[promql_parser.VectorSelector]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for part in ("expr", "lhs", "rhs", "vector_selector"):
        if hasattr(node, part):
            yield from selectors(getattr(node, part))
    for argument in getattr(node, "args", ()):
        yield from selectors(argument)


def check(query: str) -> list[str]:
    """What is wrong with a query: names and labels that nobody exports."""
    found = list(selectors(promql_parser.parse(query)))
    assert found, query
    unknown = [each.name for each in found if each.name not in LABELS]
    asked = [label.strip() for group in re.findall(r"\bby \(([^)]*)\)", query) for label in group.split(",")]
    wrong = [label for each in found for label in asked if label not in LABELS.get(each.name, asked)]
    return (
        unknown
        + wrong
        + [
            matcher.name
            for each in found
            for matcher in each.matchers.matchers
            if matcher.name not in LABELS.get(each.name, (matcher.name,))
        ]
    )


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_what_is_exported(query):
    assert check(query) == []


def test_the_check_finds_what_is_not_there():
    assert (
        check("sum by (workflow_name) (rate(perdure_workflows_begun_total[5m]))")[0] == "perdure_workflows_begun_total"
    )
    assert check("sum by (colour) (rate(perdure_workflows_started_total[5m]))") == ["colour"]
    assert check('perdure_shards{colour="red"}') == ["colour"]
    with pytest.raises(ValueError, match="unclosed"):
        check("sum by (app_id")


def test_the_dashboard_shows_every_metric():
    shown = {each.name for query in board_queries() for each in selectors(promql_parser.parse(query))}
    for family in FAMILIES:
        assert shown & set(sample_names(family)), f"no panel shows {family.name}"


def test_panels_have_ids_of_their_own_and_do_not_overlap():
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_alert_has_a_name_a_severity_and_a_paragraph_for_people():
    page = (ROOT / "docs" / "operations" / "monitoring.md").read_text()
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert f"`{rule['alert']}`" in page


def test_labels_that_a_summary_names_are_those_of_its_expression():
    for rule in RULES:
        named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        kept = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", rule["expr"]) for label in group.split(",")}
        assert named <= kept, rule["alert"]
