"""Where the files of deploy/ are, and the sets of values with which the chart is tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.docs.page import ROOT, blocks

PAGE = ROOT / "docs" / "howto" / "deploy.md"
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "perdure"
UNITS = DEPLOY / "systemd"
VALUES = sorted((CHART / "ci").glob("*.yaml"))

REFUSED_BY_SCHEMA = [
    ({"replicas": "two"}, "/replicas"),
    ({"run": "worker"}, "/run"),
    ({"appId": "two words"}, "/appId"),
    ({"server": {"grpcPort": 0}}, "/server/grpcPort"),
    ({"server": {"tls": {"secretName": "My_Secret"}}}, "/server/tls/secretName"),
    ({"server": {"token": {"value": "hunter2"}}}, "/server/token"),
    ({"server": {"secretsPath": "relative"}}, "/server/secretsPath"),
    ({"store": {"url": "postgresql://me:secret@db/shop"}}, "/store"),
    ({"keda": {"scaler": {"address": "https://perdure:50001"}}}, "/keda/scaler/address"),
    ({"podDisruptionBudget": {"maxUnavailable": "a few"}}, "/podDisruptionBudget/maxUnavailable"),
    ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
    ({"drainSeconds": -1}, "/drainSeconds"),
    ({"tls": {"secretName": "shop"}}, ""),
]
"""Values that cannot be meant, and the place that the message has to name."""


def of_the_page(language: str, holds: str) -> str:
    """The block of the page about deployment that holds a text."""
    (text,) = (block.text for block in blocks(PAGE) if block.language == language and holds in block.text)
    return text


def defaults() -> dict[str, Any]:
    return read(CHART / "values.yaml")


def read(file: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(file.read_text())
    return loaded


def merged(below: Any, above: Any) -> Any:
    """Values as Helm lays one set over another: mappings are merged, all else is replaced."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return {**below, **{key: merged(below.get(key), value) for key, value in above.items()}}
