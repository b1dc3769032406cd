"""Pieces of work for remote workers: what each needs, and how it is handed out, answered or taken back."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple, Protocol

from perdure.history.work import Stall
from perdure.remote.codec import Codec


class Kind(StrEnum):
    TURN = "turn"
    ACTIVITY = "activity"
    ENTITY = "entity"


class Need(NamedTuple):
    """What a worker must have to take a piece of work. `version` "" stands for none; `alone`: and no other work.

    A step is work of kind ACTIVITY for which a worker of ours needs the code of the `workflow` that made it.
    `flavour` is what the worker must speak, "" for any: what another server lends is written for one. `stays`: it is
    not for other servers.
    """

    app: str
    kind: Kind
    name: str
    version: str = ""
    alone: bool = False
    workflow: str = ""
    flavour: str = ""
    stays: bool = False


class Peer(Protocol):
    """The worker that is about to get work, as the work sees it."""

    codec: Codec
    is_stateful: bool
    fetches_history: bool
    item_bytes_max: int
    is_relay: bool
    """Whether it stands for workers of other servers, of which nobody here knows who gets it."""

    def remembers(self, run: object) -> int:
        """How many events of a run's history the worker is believed to have."""

    def remember(self, run: object, events: int) -> None: ...


class Work:
    """One piece of work. `instance` and `number` find it where a worker answers without a token; `returns` counts how
    often one gave it back; `home` is what the same worker should get again, None for nothing.

    `deaths` counts the workers in a row that died soon after they got it at `given_at`, `deaths_alone` the last of them
    that had nothing else.
    """

    __slots__ = (
        "deaths",
        "deaths_alone",
        "expires",
        "given_at",
        "home",
        "instance",
        "is_queued",
        "need",
        "number",
        "returns",
        "token",
    )

    def __init__(self, need: Need, instance: str, number: int = 0, home: object | None = None) -> None:
        self.need = need
        self.instance = instance
        self.number = number
        self.home = home
        self.token = ""
        self.expires = 0.0
        self.is_queued = False
        self.returns = 0
        self.given_at = 0.0
        self.deaths = self.deaths_alone = 0

    def is_for(self, need: Need, instance: str, number: int) -> bool:
        """Whether it is the turn or call that these name, in whatever version."""
        return (self.instance, self.number, self.need[:3]) == (instance, number, need[:3])

    def item(self, peer: Peer) -> bytes | None:
        """The work as bytes for a worker. None: it is not to be handed out any more."""
        raise NotImplementedError

    def still_waits(self) -> None:
        """It is looked at once more while no worker has it, or none of this server."""

    def fail(self) -> None:
        """It cannot be handed out, for a reason that nobody foresaw and the log has."""
        raise NotImplementedError

    def convict(self, stall: Stall) -> None:
        """It is not handed out any more, because it kills who gets it."""
        raise NotImplementedError

    def new_token(self, token: Callable[[], str]) -> str:
        """The name under which it is handed out this time; never one that was used before."""
        return token()

    def __repr__(self) -> str:
        where = f"out as {self.token[:8]}" if self.token else "waiting"
        return f"<{type(self).__name__} {self.need.kind} {self.need.name} of {self.instance}, {where}>"
