"""The world outside: effects of activities, by idempotency key, where the engine cannot touch them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable

from perdure.engine.shard import Shard
from perdure.testing.witness import Witness


class Ledger:
    """Counts attempts as they begin and end, and holds each to what has been committed.

    `is_owner` tells whether the process that runs now holds the newest lease of an instance's shard: an old one may not
    know yet. `made_by` gives the shard, as it has taken it up, for which it makes the attempt of an instance's call.
    """

    def __init__(
        self,
        witness: Witness,
        is_owner: Callable[[str], bool],
        made_by: Callable[[str, str], Shard | None],
        now: Callable[[], float],
        *,
        is_packed: bool,
    ) -> None:
        """`is_packed`: an attempt whose effect has happened goes on until its result is packed."""
        self.begun: dict[str, Counter[int]] = defaultdict(Counter)
        self.ended: Counter[str] = Counter()
        self.marks: dict[str, int] = {}
        self.begun_marks: Counter[tuple[str, int]] = Counter()
        self._witness = witness
        self._is_owner = is_owner
        self._maker = made_by
        self._now = now
        self._is_packed = is_packed
        self._made_by: dict[tuple[str, int], set[Shard]] = defaultdict(set)
        self._ended_by: dict[str, tuple[int, Shard, float]] = {}
        self._calm_since: dict[Shard, float] = {}

    def begin(self, instance: str, key: str, attempt: int, mark: int, attempts_max: int) -> None:
        """An attempt of the call `key` begins; `mark` names the effect in its program."""
        accuse, probes = self._witness.accuse, self._witness.probes
        if self.marks.setdefault(key, mark) != mark:
            accuse(f"key {key} stands for effect {self.marks[key]} and for {mark}")
        if key not in self._witness.scheduled:
            accuse(f"attempt {attempt} of {key} began before its call was committed")
        shard = self._maker(instance, key)
        # not who has claimed the call, be it on the owner's node: its claim has run out, and it may not know yet
        if key in self._witness.settled and shard is not None and self._is_owner(instance):
            accuse(f"attempt {attempt} of {key} began after the call's result was committed")
        if not 1 <= attempt <= attempts_max:
            accuse(f"attempt {attempt} of {key} began; its policy allows {attempts_max}")
        if attempt > 1:
            probes["attempt run again"] += 1
        if self.begun[key][attempt]:
            probes["attempt repeated after its first was cut off"] += 1
        self.begun[key][attempt] += 1
        probes["attempt begun under a lease that was lost"] += shard is not None and not self._is_owner(instance)
        self._explain(instance, key, attempt)
        self.begun_marks[instance, mark] += 1

    def _explain(self, instance: str, key: str, attempt: int) -> None:
        """An attempt is made once by whoever has taken up its shard, so that what repeats it is a loss of the shard;
        and not at all after one that ended before its shard was handed over in good order."""
        shard = self._maker(instance, key)
        if shard is None:
            return
        if shard in self._made_by[key, attempt]:
            self._witness.accuse(f"attempt {attempt} of {key} was made twice by {shard!r}")
        self._made_by[key, attempt].add(shard)
        ended, by, at = self._ended_by.get(key, (0, shard, 0.0))
        is_heir = shard.lease.epoch > by.lease.epoch  # and not a former owner that does not know yet
        if ended == attempt and is_heir and at > self._calm_since.get(by, at):
            self._witness.accuse(f"attempt {attempt} of {key} is repeated though it had ended at {at:.3f} under {by!r}")

    def end(self, instance: str, key: str, attempt: int, *, is_whole: bool = True) -> None:
        """The effect has happened. Not `is_whole`: the attempt goes on until what it has yielded is durable."""
        self.ended[key] += 1
        shard = self._maker(instance, key)
        if shard is not None and is_whole and not self._is_packed:
            self._ended_by[key] = attempt, shard, self._now()

    def handed_over(self, shard: Shard, calm_since: float) -> None:
        """A node has given the shard back in good order, and nothing has happened to the node since then."""
        self._calm_since[shard] = calm_since

    def __repr__(self) -> str:
        return f"<Ledger of {len(self.begun)} calls>"
