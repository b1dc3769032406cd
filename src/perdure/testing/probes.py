"""What a campaign must have met, and how often it did: each kind of fault, each defence of the engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

REQUIRED = (
    # what was done to the engine
    "crash before a commit",
    "crash after a commit",
    "crash at another operation",
    "commit executed, then error",
    "commit failed",
    "other operation executed, then error",
    "other operation failed",
    "crash while opening",
    "crash on purpose",
    "takeover from a living owner",
    "owner frozen during a takeover",
    "lease lost with an answer",
    "mail delivered twice",
    "creation delivered twice",
    "mail reordered",
    "hints lost",
    "page late",
    "eviction between turns",
    "eviction by the host",
    "command repeated",
    "start repeated",
    "worker without the code",
    "node ended by an instance",
    # what the engine did about it
    "commit fenced",
    "unknown outcome fenced",
    "unknown outcome: it happened",
    "unknown outcome: it did not",
    "stale dropped",
    "duplicate dropped",
    "late dropped",
    "duplicate mail refused",
    "repeated creation ignored",
    "attempt run again",
    "attempt repeated after its first was cut off",
    "stalled: workflow-not-registered",
    "stalled: non-determinism",
    "stalled: turn-too-long",
    "stalled: payload-not-decodable",
    "update answered",
    "update refused",
    "slot taken",
    "slot waited for",
    "stalled: quarantined",
    "suspect accused",
    "items appended",
    "items refused: conflict",
    "continued as new",
    "replayed",
    "purged",
)
"""Each of these at zero fails a campaign of `SEEDS_FOR_PROBES` seeds."""
SEEDS_FOR_PROBES = 500
"""So many seeds must have met everything."""


def unmet(counts: Mapping[str, int], seeds: int) -> list[str]:
    """The required happenings that a campaign of so many seeds never saw; a small one is held to nothing."""
    if seeds < SEEDS_FOR_PROBES:
        return []
    return [name for name in REQUIRED if not counts.get(name)]


def table(counts: Counter[str]) -> str:
    """The counts for people to read."""
    width = max((len(name) for name in counts), default=0)
    return "\n".join(f"  {name:<{width}} {count:>9,}" for name, count in sorted(counts.items()))
