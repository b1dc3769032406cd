"""The scenarios: what each is called, what it shows, and what the runner kills in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Scenario:
    """One row of the matrix. `kills` is what the runner kills once the client says that the program is there.

    `in_peace`: with SIGTERM, as an operator would. `told` is the scenario that the client is told, if it is another.
    """

    name: str
    shows: str
    kills: Literal["worker", "server"] | None = None
    in_peace: bool = False
    told: str = ""


SCENARIOS = (
    Scenario("chaining", "three activities in sequence"),
    Scenario("fan-out-50", "50 activities at once, each of which runs once"),
    Scenario("child", "a child workflow and its result"),
    Scenario("timer", "a durable timer, which does not fire early"),
    Scenario("event-before", "an external event that is raised before the workflow waits for it"),
    Scenario("event-after", "an external event that is raised while the workflow waits"),
    Scenario("event-timeout", "an event that does not come in time"),
    Scenario("retry-third", "a retry policy whose third attempt succeeds"),
    Scenario("retry-exhausted", "a retry policy that runs out of attempts"),
    Scenario("continue-as-new", "five generations that keep events"),
    Scenario("custom-status", "a custom status, read while the workflow runs and afterwards"),
    Scenario("suspend-resume", "suspend, an event meanwhile, resume"),
    Scenario("terminate-recursive", "terminate a parent and its child"),
    Scenario("purge", "purge a completed instance"),
    Scenario("query-list", "list instances, whole and in pages"),
    Scenario("failure-cause", "failure details, with the inner cause where the SDK sends one"),
    Scenario("payload-200k", "a payload of 200,000 characters there and back"),
    Scenario("history-1000", "350 activities in sequence: more than 1,000 events"),
    Scenario("worker-killed-turn", "the worker is killed in the middle of a turn", kills="worker"),
    Scenario("worker-killed-activity", "the worker is killed in the middle of an activity", kills="worker"),
    Scenario("server-restarted", "the server is killed and started again while a timer runs", kills="server"),
    Scenario(
        "server-stopped",
        "the server is told to stop and started again while a timer runs",
        kills="server",
        in_peace=True,
        told="server-restarted",
    ),
)

EXTRAS = (
    Scenario("start-at", "a start that lies ahead; an event that comes before it is kept"),
    Scenario("start-again", "an id is refused while it is in use, and free again once its run has ended"),
    Scenario("history-read", "a client reads the history of a run"),
    Scenario("stateful-history", "a worker that keeps histories is sent what it does not have"),
    Scenario("send-event", "a workflow sends an event to another one"),
    Scenario("rerun", "an ended run is run again from one of its calls; what came before is not"),
    Scenario("rewind", "a failed run goes on where it failed; what had succeeded is not run again"),
    Scenario("restart", "an ended run is started again, under a new id and under its own"),
    Scenario("entity-signal", "signals to an entity, and its state read by a client"),
    Scenario("entity-call", "a workflow calls an entity and gets its answer, or its error"),
    Scenario("entity-lock", "a workflow locks two entities and moves an amount between them"),
    Scenario("entity-spread", "an entity signals another one and starts a workflow"),
    Scenario("entity-delayed", "a delayed signal to an entity, which is not early"),
    Scenario("entity-storage", "entities are listed, apart from workflows, and cleaned up"),
    Scenario("entity-server-killed", "the server is killed while workflows move amounts under locks", kills="server"),
    Scenario("entity-worker-killed", "the worker is killed in the middle of an operation", kills="worker"),
)
"""Scenarios for what only some SDKs know; `extras` in sdk.toml names those that a program has."""

CROSS_LANGUAGE = Scenario("cross-language", "a Python parent, a Go activity, a JavaScript child: three app ids")
