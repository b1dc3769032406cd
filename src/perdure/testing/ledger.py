"""The world outside: effects of activities, by idempotency key, where the engine cannot touch them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable

from perdure.testing.witness import Witness


class Ledger:
    """Counts attempts as they begin and end, and holds each to what has been committed.

    `is_owner` tells whether the process that runs now holds the newest lease: an old one may not know yet.
    """

    def __init__(self, witness: Witness, is_owner: Callable[[], bool]) -> None:
        self.begun: dict[str, Counter[int]] = defaultdict(Counter)
        self.ended: Counter[str] = Counter()
        self.marks: dict[str, int] = {}
        self.begun_marks: Counter[tuple[str, int]] = Counter()
        self._witness = witness
        self._is_owner = is_owner

    def begin(self, instance: str, key: str, attempt: int, mark: int, attempts_max: int) -> None:
        """An attempt of the call `key` begins; `mark` names the effect in its program."""
        accuse, probes = self._witness.accuse, self._witness.probes
        if self.marks.setdefault(key, mark) != mark:
            accuse(f"key {key} stands for effect {self.marks[key]} and for {mark}")
        if key not in self._witness.scheduled:
            accuse(f"attempt {attempt} of {key} began before its call was committed")
        if key in self._witness.settled and self._is_owner():
            accuse(f"attempt {attempt} of {key} began after the call's result was committed")
        if not 1 <= attempt <= attempts_max:
            accuse(f"attempt {attempt} of {key} began; its policy allows {attempts_max}")
        if attempt > 1:
            probes["attempt run again"] += 1
        if self.begun[key][attempt]:
            probes["attempt repeated after its first was cut off"] += 1
        self.begun[key][attempt] += 1
        self.begun_marks[instance, mark] += 1

    def end(self, key: str) -> None:
        """The effect has happened."""
        self.ended[key] += 1

    def __repr__(self) -> str:
        return f"<Ledger of {len(self.begun)} calls>"
