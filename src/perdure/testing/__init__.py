"""What tests of workflows and of stores need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perdure.testing.run import run

if TYPE_CHECKING:
    from perdure.testing.durable import OpenApp
    from perdure.testing.environment import Environment
    from perdure.testing.golden import assert_replays
    from perdure.testing.histories import assert_history, event
    from perdure.testing.stubs import AttemptRecord, Call

__all__ = ["run", "Environment", "OpenApp", "Call", "AttemptRecord", "assert_history", "event", "assert_replays"]

_HOMES = {
    "OpenApp": "durable",
    "Environment": "environment",
    "assert_replays": "golden",
    "assert_history": "histories",
    "event": "histories",
    "Call": "stubs",
    "AttemptRecord": "stubs",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # because a simulator or a store's suite needs none of them

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
