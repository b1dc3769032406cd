"""The choices of a simulated run: one seed, and a stream of its own for each purpose."""

from __future__ import annotations

import random


class Tape:
    """Repeatable choices. Streams are apart by purpose, so that one more fault reshuffles no workload."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._streams: dict[str, random.Random] = {}

    def stream(self, purpose: str) -> random.Random:
        found = self._streams.get(purpose)
        if found is None:
            found = self._streams[purpose] = random.Random(f"{self.seed}.{purpose}")
        return found

    def __repr__(self) -> str:
        return f"<Tape of seed {self.seed}: {', '.join(sorted(self._streams)) or 'untouched'}>"
