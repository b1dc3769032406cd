"""What the samples mean: each figure's definition, its target, and whether it was reached. No I/O."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Sample = Mapping[str, Any]
Verdict = Literal["pass", "miss", "shown", "not judged", "no sample"]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of the rounds between the least and the greatest of them."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread | None":
        return cls(statistics.median(values), min(values), max(values)) if values else None


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure must reach. With `worst_round` the worst round decides, else the median."""

    limit: float
    at_least: bool = False
    worst_round: bool = False

    def reached(self, spread: Spread) -> bool:
        if self.at_least:
            return (spread.least if self.worst_round else spread.median) >= self.limit
        return (spread.most if self.worst_round else spread.median) <= self.limit


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: its value follows from a round's samples, the floor's (if any) and Perdure's."""

    title: str
    scenario: str
    unit: str
    value: Callable[[Sample, Sample], float]
    target: Target | None = None
    wall: Callable[[Sample, Sample], float] | None = None
    show: Callable[[Sample], str] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One figure as it came out; `floor` and `perdure` are words for people, from the median round."""

    title: str
    scenario: str
    unit: str
    value: Spread | None
    wall: Spread | None
    floor: str
    perdure: str
    rounds: int
    target: str
    verdict: Verdict


def row(figure: Figure, samples: Mapping[str, Sequence[Sample]], judge: bool) -> Row:
    """The figure's row from its scenario's samples by engine; `judge` only what ran at full size."""
    floor, perdure = samples.get("floor", []), samples.get("perdure", [])
    rounds = list(zip(floor or [{}] * len(perdure), perdure, strict=False))
    value = Spread.of([figure.value(*pair) for pair in rounds])
    wall = Spread.of([figure.wall(*pair) for pair in rounds]) if figure.wall else None
    return Row(
        figure.title,
        figure.scenario,
        figure.unit,
        value,
        wall,
        _shown(figure, floor),
        _shown(figure, perdure),
        len(rounds),
        _in_words(figure.target, figure.unit),
        _verdict(figure.target, value, judge),
    )


def _verdict(target: Target | None, value: Spread | None, judge: bool) -> Verdict:
    if value is None:
        return "no sample"
    if target is None:
        return "shown"
    if not judge:
        return "not judged"
    return "pass" if target.reached(value) else "miss"


def _shown(figure: Figure, samples: Sequence[Sample]) -> str:
    """The engine's own numbers: the median of every entry over the rounds."""
    if not samples or figure.show is None:
        return "-"
    numbers = [key for key, value in samples[0].items() if isinstance(value, int | float)]
    medians = {key: statistics.median(sample[key] for sample in samples) for key in numbers}
    return figure.show({**samples[0], **medians})


def _in_words(target: Target | None, unit: str) -> str:
    if target is None:
        return "-"
    return f"{'at least' if target.at_least else 'at most'} {target.limit:g} {unit}"


def _throughput(clock: str) -> Callable[[Sample, Sample], float]:
    return lambda floor, perdure: floor[clock] / perdure[clock]


def _cost(clock: str) -> Callable[[Sample, Sample], float]:
    return lambda floor, perdure: perdure[clock] / floor[clock]


def _growth(_floor: Sample, perdure: Sample) -> float:
    return float(perdure["late_s"] / perdure["early_s"])


def _own(key: str, scale: float = 1.0) -> Callable[[Sample, Sample], float]:
    return lambda _floor, perdure: perdure[key] * scale


def _against_a_step(clock: str) -> Callable[[Sample, Sample], float]:
    return lambda _floor, perdure: perdure[f"item_{clock}_s"] / perdure[f"step_{clock}_s"]


def _item_and_step(sample: Sample) -> str:
    return f"{sample['item_cpu_s'] * 1e6:.0f} us, step {sample['step_cpu_s'] * 1e6:.0f} us CPU"


def _rate(sample: Sample) -> str:
    return f"{sample['cpu_s'] * 1e6:.0f} us CPU, {1 / sample['wall_s']:,.0f}/s"


def _latency(sample: Sample) -> str:
    return f"{sample['cpu_s'] * 1e3:.3f} ms CPU, {sample['wall_s'] * 1e3:.3f} ms wall"


def _early_late(sample: Sample) -> str:
    return f"{sample['early_s'] * 1e6:.0f} us, then {sample['late_s'] * 1e6:.0f} us CPU"


def _imported(sample: Sample) -> str:
    return f"median {sample['median_s'] * 1e3:.0f} ms, loads {', '.join(sample['others']) or 'nothing else'}"


def _workflows(concurrency: str, target: Target | None) -> Figure:
    return Figure(
        f"one-activity workflows, {concurrency} at once",
        f"one_at_{concurrency.replace(',', '')}",
        "x the floor",
        _throughput("cpu_s"),
        target,
        _throughput("wall_s"),
        _rate,
    )


FIGURES = (
    _workflows("1", None),
    _workflows("100", None),
    _workflows("1,000", Target(0.5, at_least=True)),
    Figure(
        "steps of 100 sequences of 100",
        "sequences",
        "x the floor",
        _throughput("cpu_s"),
        Target(0.5, at_least=True),
        _throughput("wall_s"),
        _rate,
    ),
    Figure(
        "a lone sequential step", "lone", "x the floor's cost", _cost("cpu_s"), Target(1.7), _cost("wall_s"), _latency
    ),
    Figure(
        "an item of a stream against a step",
        "stream",
        "x the step's cost",
        _against_a_step("cpu"),
        Target(1.3),
        _against_a_step("wall"),
        _item_and_step,
    ),
    Figure("step 10,000 against step 100 of one workflow", "long_run", "x", _growth, Target(1.2), show=_early_late),
    Figure("call 10,000 against call 100 of one fan-out", "wide_run", "x", _growth, Target(1.2), show=_early_late),
    Figure(
        "fan-out of 1,000 activities, wall",
        "fan_out",
        "ms",
        _own("wall_s", 1e3),
        Target(150),
        show=lambda s: f"{s['cpu_s'] * 1e3:.0f} ms CPU",
    ),
    Figure(
        "cold resume of 10,000 in flight after kill -9, wall",
        "resume",
        "s",
        _own("wall_s"),
        Target(5),
        show=lambda s: f"{s['cpu_s']:.2f} s CPU, peak {s['peak_mb']:.0f} MB",
    ),
    Figure(
        "deploy gate, runs replayed a minute",
        "gate",
        "runs/min",
        _own("per_minute"),
        Target(10_000, at_least=True),
        show=lambda s: f"{s['count']:,.0f} in {s['wall_s']:.1f} s",
    ),
    Figure(
        "100,000 asleep on timers, resident",
        "sleepers",
        "MB",
        _own("asleep_mb"),
        Target(150, worst_round=True),
        show=lambda s: f"peak {s['peak_mb']:.0f} MB",
    ),
    Figure(
        "... the latest of 20,000 that fall due at 1,000/s",
        "sleepers",
        "s",
        _own("late_max_s"),
        Target(1, worst_round=True),
        show=lambda s: f"median {s['late_median_s']:.3f} s",
    ),
    Figure(
        "... the earliest, by which it was too early", "sleepers", "s", _own("early_max_s"), Target(0, worst_round=True)
    ),
    Figure("import perdure, best of 10", "import", "ms", _own("best_s", 1e3), Target(100), show=_imported),
    Figure(
        "idle process, resident",
        "idle",
        "MB",
        _own("resident_mb"),
        Target(40, worst_round=True),
        show=lambda s: f"{s['cpu_share'] * 100:.2f} % CPU",
    ),
)
