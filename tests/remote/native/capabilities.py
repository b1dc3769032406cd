"""The table of capabilities: what is expected where, and the page that says so.

`python -m tests.remote.native.capabilities` writes the page; the tests beside it try each of its cells.
"""

from __future__ import annotations

from pathlib import Path

from perdure.remote.requests import Flavour
from tests.remote.native.features import FEATURES

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "servers.md"
NO_SERVER = frozenset(("transactions with your own tables",))
"""What needs the store at hand, so that no server can give it."""
REFUSED = frozenset(
    (
        "heartbeats, with details for the next attempt",
        "heartbeat timeouts",
        "cancellation of a workflow, with its compensations",
        "published state, and queries for it",
        "updates, with validators",
        "activities that yield, and readers of their streams",
        "queues with limits",
        "schedules",
        "topics: handlers, and messages that start and raise",
        "starts that are one: deduplication, debounce",
        "run timeouts",
        "search by name, status, time, tags, text; batches",
        "explanations",
        "rerun from an event",
        "payloads encrypted by the app",
        "steps of a workflow's own code, and agents",
        *NO_SERVER,
    )
)
"""What a server that is no Perdure is refused for."""
IGNORED = frozenset(("cancellation of running activities",))
"""What such a server does not do, although the workflow goes on as if it had: its protocol has no word for it."""
REFUSED_BY_MICROSOFT = frozenset(("child workflows, attached and detached", "versions and patches of code"))
_HEAD = """# Where an App can run

<!-- Written by `python -m tests.remote.native.capabilities`; the tests beside it try each cell. -->

The same App runs embedded (`App("shop")`), at `perdure serve` (`App("shop", server="grpc://host:50001")`), and at a
server that knows the public protocol alone: a Dapr sidecar, or another backend of the Durable Task SDKs. See
[an App at a server](../howto/remote-worker.md).

"no" means that `NotSupportedByServer` names the function and what it needs: when the worker connects, or, where only
the call or the code itself tells, by the call or as the failure of the workflow. "passed over" means that the workflow
goes on as it would, and the attempt runs to its end.

| feature | embedded | `perdure serve` | Dapr sidecar | other backend |
|---|---|---|---|---|
"""
_FOOT = """
The last two columns are tried on the public protocol of each flavour as `perdure serve` speaks it, with all that is
Perdure's own taken away, and the last one also on the in-memory backend of the Python package `durabletask`
(`make compat`), which by itself neither ends children with their parent nor gives tags back. They have not run on a
Dapr sidecar itself.

Retries of activities are kept by the engine where it is Perdure's; elsewhere the worker writes them into the history as
timers and further calls, so they outlive a crash there too. Each further attempt then costs two more events.
"""


def is_refused(name: str, flavour: Flavour) -> bool:
    """Whether an app that uses the feature is told that the server lacks it."""
    return name in REFUSED or (flavour is Flavour.MICROSOFT and name in REFUSED_BY_MICROSOFT)


def page() -> str:
    """The page as it has to be."""
    return _HEAD + "".join(_row(name) for name in FEATURES) + _FOOT


def _row(name: str) -> str:
    own = "no" if name in NO_SERVER else "yes"
    return f"| {name} | yes | {own} | {_foreign(name, Flavour.DAPR)} | {_foreign(name, Flavour.MICROSOFT)} |\n"


def _foreign(name: str, flavour: Flavour) -> str:
    if name in IGNORED:
        return "passed over"
    return "no" if is_refused(name, flavour) else "yes"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
