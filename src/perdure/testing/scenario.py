"""What a simulated world is made of before it begins, its clients and its code, and what is told of its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from perdure.codec import Codec, Payload
from perdure.history.state import InstanceState
from perdure.sdk.definitions import Definitions
from perdure.stores.contract import Status
from perdure.testing.actor_laws import Books
from perdure.testing.topic_laws import Order

APP = "simulated"
KILLER = "killer"
"""Name of the workflow that ends its node."""


@dataclass(frozen=True)
class Command:
    """What a client sends `at` seconds after the start, and not before the effect `after` has begun, nor the instance
    is seen in a state `when`, unless all is over."""

    at: float
    event: Callable[[int], Any]
    after: int | None = None
    when: Callable[[InstanceState], bool] | None = None


@dataclass(frozen=True)
class Role:
    """One instance that clients start, what they send to it, and the right outcomes: value by status."""

    id: str
    workflow: str
    input: Payload
    outcomes: Mapping[Status, Any]
    commands: tuple[Command, ...] = ()
    starts: float = 0.0
    judged: bool = True
    """Whether the value matters, besides the completion."""
    run_timeout: float | None = None
    """Seconds that the run may take."""
    purged: bool = False
    """Whether its client purges it as soon as it has finished, while others go on."""
    check: Callable[[InstanceState], str | None] | None = None
    """What is wrong with its last state, if anything."""


@dataclass(frozen=True)
class Scenario:
    """What is the same for all nodes of a world. `mischief` are things done to nodes, by time."""

    roles: tuple[Role, ...]
    good: Definitions
    bad: Definitions | None = None
    sqlite: bool = False
    nodes: int = 1
    slots: int = 1_000
    activations_max: int = 2_000
    quarantine_deaths: int | None = None
    disorder: float = 0.0
    skew: int = 0
    mischief: tuple[tuple[float, str], ...] = ()
    purges: bool = False
    codec: Codec | None = None
    orders: tuple[Order, ...] | None = None
    """All that are published; None: its code has no topics."""
    books: Books | None = None
    """What its accounts must come to; None: its code has no actors."""


@dataclass
class Report:
    """How a world ended."""

    violations: list[str]
    probes: Counter[str]
    digest: int
    trace: list[str]
    steps: int
    seconds: float
