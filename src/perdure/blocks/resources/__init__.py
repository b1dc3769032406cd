"""What an application is given beside its code: components, subscriptions and servers of tools, as YAML files say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from perdure.blocks.resources.records import (
    BulkSubscribe,
    Component,
    Configuration,
    Hook,
    McpServer,
    OAuth,
    Resources,
    Rule,
    Subscription,
)
from perdure.blocks.resources.usual import USUAL

__all__ = [
    "read_resources",
    "Resources",
    "Component",
    "Subscription",
    "Rule",
    "BulkSubscribe",
    "Configuration",
    "McpServer",
    "OAuth",
    "Hook",
    "USUAL",
]


def read_resources(folders: Path | Sequence[Path], environment: Mapping[str, str]) -> Resources:
    """The resources in the YAML files of one or several folders, or in files that are named themselves.

    `environment` is where `envRef` and `secretstores.local.env` look. Raises InvalidArgument and UnknownConfiguration,
    both with one sentence that names the file and the line.
    """
    from perdure.blocks.resources import folder  # because only files need YAML, which comes with an extra

    return folder.read_resources(folders, environment)
