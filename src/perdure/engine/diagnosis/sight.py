"""What is seen of an instance and of its surroundings at one moment, and what is found to be the cause."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from perdure.engine.attempts import AttemptState
from perdure.engine.ownership import Refusal
from perdure.engine.workflow_slots import WorkflowSlots
from perdure.history.entities import EntityQueue
from perdure.history.nodes import is_of
from perdure.history.state import Standing
from perdure.stores.contract import Head, Mail, Member, OpenCall, ShardState, Suspect, Wait


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What is around the instances of an app.

    `nodes` are those that live. `is_owned`: this process owns the instance; the rest is known to it alone: `standing`
    tells of its turn, or of an activity, where code is elsewhere, `attempt` of one that runs here, and the two
    times since when the store has had no room, and since when a commit is under way.
    """

    now: int
    app: str = ""
    nodes: tuple[Member, ...] = ()
    keeper: str | None = None
    """Who has the store to itself by a lock, and does not run the app."""
    owner: ShardState | None = None
    suspect: Suspect | None = None
    is_owned: bool = False
    is_home: bool = True
    """Whether it is the app that the caller asks about; else commands name it."""
    standing: Callable[[Wait | None], Standing | None] = lambda wait: None
    attempt: Callable[[Wait], AttemptState | None] = lambda wait: None
    slots: WorkflowSlots | None = None
    """The workflow slots of the node, where it is this one."""
    queue: EntityQueue | None = None
    """What waits for an entity that this process has in memory."""
    refusal: Refusal | None = None
    """Why this process cannot own it, which would if the store let it."""
    full_since: int | None = None
    committing_since: int | None = None

    @property
    def holder(self) -> str | None:
        """Who owns it, for people to read."""
        if self.owner is not None and self.owner.owner is not None:
            return self.owner.owner
        return self.nodes[0].owner if self.nodes else None

    @property
    def is_orphaned(self) -> bool:
        """Whether the owner that the store names lives no more."""
        owner = self.owner.owner if self.owner is not None else None
        return owner is not None and not any(is_of(owner, node.owner) for node in self.nodes)


class Usual(msgspec.Struct, frozen=True):
    """How long instances of one workflow took that completed: how many, the middle one, and the 95th of 100; times in
    microseconds."""

    count: int
    median: int
    most: int


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """An instance as of one moment. What was not read is empty.

    `raised` are external events that came to the run, as (time, name); `calls` are all waits of the app that are in
    queues; `usual` is what instances of its workflow usually take; `parent` is its parent's head.
    """

    head: Head
    scene: Scene
    waits: Sequence[Wait] = ()
    mail: Sequence[Mail] = ()
    resumes: bool = False
    """Whether a resume lies in its mail."""
    suspended_by: str | None = None
    """Who did that, by the audit log."""
    raised: Sequence[tuple[int, str]] = ()
    calls: Sequence[OpenCall] = ()
    usual: Usual | None = None
    parent: Head | None = None


class Reference(msgspec.Struct, frozen=True):
    """Somebody that an instance waits for, behind whom the cause may be. `app` None: of the same app."""

    id: str
    app: str | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A cause, by its id, with the facts that its row asks for.

    `behind` are those that it waits for; `link` is what is said before and after the one that is named. With
    `is_shared` one of them is enough, so that all must be stuck for it to be.
    """

    cause: str
    facts: dict[str, Any] = {}
    since: int | None = None
    line: str | None = None
    behind: tuple[Reference, ...] = ()
    link: tuple[str, str] = ("waits for ", "")
    is_shared: bool = False
    ring: tuple[str, ...] = ()
    """The others that it waits for in a circle."""
