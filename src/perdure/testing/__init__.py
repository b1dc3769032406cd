"""What tests of workflows and of stores need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perdure.testing.run import run

if TYPE_CHECKING:
    from perdure.history.recording import Recording, decode_recording, encode_recording
    from perdure.sdk.verdict import Finding, Verdict, replay_history, replay_recording
    from perdure.testing.durable import OpenApp
    from perdure.testing.environment import Environment
    from perdure.testing.golden import assert_replays
    from perdure.testing.histories import assert_history, event
    from perdure.testing.stubs import AttemptRecord, Call

__all__ = [
    "run",
    "Environment",
    "OpenApp",
    "Call",
    "AttemptRecord",
    "assert_history",
    "event",
    "assert_replays",
    "replay_history",
    "replay_recording",
    "Verdict",
    "Finding",
    "Recording",
    "decode_recording",
    "encode_recording",
]

_HOMES = {
    "OpenApp": "perdure.testing.durable",
    "Environment": "perdure.testing.environment",
    "assert_replays": "perdure.testing.golden",
    "assert_history": "perdure.testing.histories",
    "event": "perdure.testing.histories",
    "Call": "perdure.testing.stubs",
    "AttemptRecord": "perdure.testing.stubs",
    "replay_history": "perdure.sdk.verdict",
    "replay_recording": "perdure.sdk.verdict",
    "Verdict": "perdure.sdk.verdict",
    "Finding": "perdure.sdk.verdict",
    "Recording": "perdure.history.recording",
    "decode_recording": "perdure.history.recording",
    "encode_recording": "perdure.history.recording",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # because a simulator or a store's suite needs none of them

    return getattr(importlib.import_module(_HOMES[name]), name)
