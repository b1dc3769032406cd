"""What an app has registered."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Self

from perdure.errors import AlreadyRegistered, InvalidArgument
from perdure.history.options import Limits
from perdure.sdk.activity import Activity
from perdure.sdk.workflow import Workflow

RESERVED = "perdure."
"""What the names of built-in workflows begin with, and no others."""


class Definitions:
    """What an app has registered, by kind and name; of a workflow in several versions, `workflows` has the latest."""

    def __init__(self) -> None:
        self.activities: dict[str, Activity[..., Any]] = {}
        self.workflows: dict[str, Workflow[..., Any]] = {}
        self.versions: dict[str, dict[str | None, Workflow[..., Any]]] = {}
        self.schedules: dict[str, Any] = {}
        """Specifications of the schedules that are declared, by id."""
        self.actors: dict[str, Any] = {}
        """Classes of actors, by name."""
        self.subscriptions: dict[tuple[str, str], Any] = {}
        """Subscriptions that are declared, by topic and group."""
        self.queues: dict[str, Limits] = {}
        self.movable: set[str] = set()
        """Activities that any node may run for any other."""

    def add(self, definition: Activity[..., Any] | Workflow[..., Any]) -> None:
        """Raises AlreadyRegistered if another function has the name, and the version."""
        if definition.name.startswith(RESERVED):
            raise InvalidArgument(
                f"the name {definition.name!r} begins with {RESERVED!r}, which is kept for Perdure's own"
            )
        where = definition.options.place
        if where is not None and self.queues.setdefault(where.queue, where.limits) != where.limits:
            raise AlreadyRegistered(f"queue {where.queue!r} has two sets of limits; give both places the same Queue")
        if isinstance(definition, Activity):
            _add(self.activities, definition.name, definition)
            if not (definition.is_transaction or definition.has_stream):
                self.movable.add(definition.name)
            return
        versions = self.versions.setdefault(definition.name, {})
        _add(versions, definition.version, definition)
        self.workflows[definition.name] = _latest(versions)

    def workflow(self, name: str, version: str | None, *, is_new: bool) -> Workflow[..., Any] | None:
        """The code for a run of that version; a new run that names none takes the latest."""
        if version is None and is_new:
            return self.workflows.get(name)
        return self.versions.get(name, {}).get(version)

    def include(self, other: Definitions) -> Self:
        for activity in other.activities.values():
            self.add(activity)
        for versions in other.versions.values():
            for workflow in versions.values():
                self.add(workflow)
        for id, spec in other.schedules.items():
            self.declare(id, spec)
        for actor in other.actors.values():
            self.add_actor(actor)
        for subscription in other.subscriptions.values():
            self.subscribe(subscription)
        return self

    def add_actor(self, actor: Any) -> None:
        """Raises AlreadyRegistered if another class has the name."""
        if self.actors.setdefault(actor.name, actor) is not actor:
            raise AlreadyRegistered(f"actor {actor.name!r} is registered twice; give one another name with name=...")

    def subscribe(self, subscription: Any) -> None:
        """Keep a subscription. Raises AlreadyRegistered if its group subscribes to the topic already."""
        place = subscription.topic, subscription.group
        if self.subscriptions.setdefault(place, subscription) is not subscription:
            raise AlreadyRegistered(
                f"group {subscription.group!r} subscribes to {subscription.topic!r} twice; give one of them another "
                "name with group=..."
            )

    def declare(self, id: str, spec: Any) -> None:
        """Keep the specification of a schedule. Raises AlreadyRegistered if it is declared in another way."""
        if self.schedules.setdefault(id, spec) is not spec:
            raise AlreadyRegistered(f"schedule {id!r} is declared twice; give one of them another id")


def _add(table: dict[Any, Any], key: str | None, definition: Activity[..., Any] | Workflow[..., Any]) -> None:
    present = table.get(key)
    if present is not None and present.function is not definition.function:
        places = f"{_place(present.function)} and {_place(definition.function)}"
        remedy = "give one of them another name with name=..."
        if isinstance(definition, Workflow):
            remedy += ", or another version with version=..."
        raise AlreadyRegistered(f"{definition.name!r} is registered twice, at {places}; {remedy}")
    table[key] = definition


def _latest(versions: dict[str | None, Workflow[..., Any]]) -> Workflow[..., Any]:
    marked = [workflow for workflow in versions.values() if workflow.is_marked]
    if len(marked) > 1:
        raise AlreadyRegistered(
            f"versions {' and '.join(repr(each.version) for each in marked)} of {marked[0].name!r} are both registered "
            "with latest=True; mark one"
        )
    return marked[0] if marked else versions[max(versions, key=version_order)]


def version_order(version: str | None) -> list[tuple[bool, int, str]]:
    """Sorts versions by their parts, numbers as numbers: none, "1", "1.5", "1.10", "2", "10", "2024-05-01"."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in _PARTS.findall(version or "")]


_PARTS = re.compile(r"[0-9]+|[^0-9]+")


def _place(function: Callable[..., Any]) -> str:
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else repr(function)
