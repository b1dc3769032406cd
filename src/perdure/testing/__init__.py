"""What tests of workflows and of stores need."""

from perdure.history.recording import Recording, decode_recording, encode_recording
from perdure.sdk.verdict import Finding, Verdict, replay_history, replay_recording
from perdure.testing.run import run

__all__ = [
    "Finding",
    "Recording",
    "Verdict",
    "decode_recording",
    "encode_recording",
    "replay_history",
    "replay_recording",
    "run",
]
