"""What a page of the dashboard is: its path, its templates, who may see it, and what its form does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from perdure.remote.dashboard.visit import Visit
from perdure.sdk.role import Role


@dataclass(frozen=True)
class Shown:
    """What a template is to show. `version` names what is in it, so that what has not changed is not sent again."""

    facts: dict[str, Any] = field(default_factory=dict)
    version: str = ""


Answer = Callable[[Visit], Awaitable[Shown | Response]]


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page about a target. `fragment` is the template of its live part; `does` is what its form does."""

    path: str
    shows: Answer
    template: str
    fragment: str = ""
    nav: str = ""
    role: Role = Role.READ
    does: Answer | None = None
