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
    "step done",
    "schedule accounted for",
    "order appended",
    "dead letter appended",
    "message handled again",
    "transfer received",
    "message sent with the turn of an actor",
    "continued as new",
    "replayed",
    "purged",
)
"""Each of these at zero fails a campaign of as many seeds as `SEEDS_FOR_PROBES` says."""
REQUIRED_OF_SERVERS = (
    # what was done to servers and workers
    "worker killed",
    "worker leaves",
    "stream cut",
    "no worker for a while",
    "item dropped by a worker",
    "request lost",
    "reply lost",
    "answer sent twice",
    "answer late",
    "answer at another server",
    "answer garbled",
    "answer in parts",
    "history asked for in full",
    "history asked of the server",
    "work given back",
    "crash before a commit",
    "crash after a commit",
    "crash on purpose",
    "takeover from a living owner",
    "eviction between turns",
    "worker without the code",
    # what they did about it
    "answer to turn that is out",
    "answer to turn that is not out",
    "answer to turn that is another's",
    "answer to attempt that is out",
    "answer to attempt that is not out",
    "answer to attempt that is another's",
    "answer by way of another server",
    "late report refused",
    "lease of work ran out",
    "work of a worker that is gone",
    "turn taken back",
    "turn taken back before it was out",
    "nobody is there to take work",
    "workers are there again",
    "commit fenced",
    "stale dropped",
    "duplicate dropped",
    "items appended",
    "update answered",
    "continued as new",
    "replayed",
)
"""Likewise of worlds of servers and workers."""
REQUIRED_OF_CLUSTERS = (
    # what was done to nodes, to their way to the store, and to the store
    "crash",
    "leave",
    "join",
    "freeze",
    "cut",
    "mute",
    "slow",
    "flap",
    "no beats",
    "store restarts",
    "store fails over",
    "request lost on its way",
    "answer lost on its way",
    "request later than its caller waits",
    "crash before a commit",
    "crash after a commit",
    "crash while opening",
    "lease lost with an answer",
    "forwarder died between delivery and deletion",
    "eviction between turns",
    "worker without the code",
    # what they did about it
    "two nodes believe that they own a shard",
    "commit fenced",
    "commit fenced beside others that were taken",
    "unknown outcome: it happened",
    "unknown outcome: it did not",
    "unknown outcome fenced",
    "shard handed over in good order",
    "shares fair",
    "forwarded",
    "call claimed",
    "claimed call reported",
    "message lent",
    "message handled again",
    "transfer received",
    "stale dropped",
    "duplicate dropped",
    "duplicate mail refused",
    "attempt repeated after its first was cut off",
    "continued as new",
    "replayed",
    "purged",
)
"""Likewise of worlds of nodes that divide the shards of a store."""
SEEDS_FOR_PROBES = {"engine": 500, "servers": 500, "cluster": 100}
"""So many seeds of a kind must have met everything; one of a cluster is as long as a dozen of the others."""
REQUIRED_BY_KIND = {"engine": REQUIRED, "servers": REQUIRED_OF_SERVERS, "cluster": REQUIRED_OF_CLUSTERS}


def unmet(counts: Mapping[str, int], seeds: int, kind: str = "engine") -> list[str]:
    """The required happenings that a campaign of so many seeds never saw; a small one is held to nothing."""
    if seeds < SEEDS_FOR_PROBES[kind]:
        return []
    return [name for name in REQUIRED_BY_KIND[kind] if not counts.get(name)]


def table(counts: Counter[str]) -> str:
    """The counts for people to read."""
    width = max((len(name) for name in counts), default=0)
    return "\n".join(f"  {name:<{width}} {count:>9,}" for name, count in sorted(counts.items()))
