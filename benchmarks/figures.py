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


def _call_against_a_step(clock: str) -> Callable[[Sample, Sample], float]:
    return lambda _floor, perdure: perdure[f"call_{clock}_s"] / perdure[f"step_{clock}_s"]


def _inner_call_against_a_step(clock: str) -> Callable[[Sample, Sample], float]:
    return lambda _floor, perdure: perdure[f"inner_{clock}_s"] / perdure[f"step_{clock}_s"]


def _call_and_step(sample: Sample) -> str:
    return f"{sample['call_cpu_s'] * 1e6:.0f} us, step {sample['step_cpu_s'] * 1e6:.0f} us CPU"


def _item_and_step(sample: Sample) -> str:
    return f"{sample['item_cpu_s'] * 1e6:.0f} us, step {sample['step_cpu_s'] * 1e6:.0f} us CPU"


def _rate(sample: Sample) -> str:
    return f"{sample['cpu_s'] * 1e6:.0f} us CPU, {1 / sample['wall_s']:,.0f}/s"


def _latency(sample: Sample) -> str:
    return f"{sample['cpu_s'] * 1e3:.3f} ms CPU, {sample['wall_s'] * 1e3:.3f} ms wall"


def _early_late(sample: Sample) -> str:
    return f"{sample['early_s'] * 1e6:.0f} us, then {sample['late_s'] * 1e6:.0f} us CPU"


def _above_empty(empty: Sample, perdure: Sample) -> float:
    return float(perdure["cpu_s"] - empty["cpu_s"]) * 1e3


def _above_plain(_: Sample, perdure: Sample) -> float:
    return float(perdure["cpu_s"] - perdure["plain_s"]) * 1e3


def _agents(sample: Sample) -> str:
    return f"{sample['plain_s'] * 1e3:.2f} ms plain, {sample['cpu_s'] * 1e3:.2f} ms durable"


def _watched(sample: Sample) -> str:
    both = f"{sample['plain_s'] * 1e6:.0f} us, then {sample['watched_s'] * 1e6:.0f} us CPU"
    return f"{both}; the cheapest blocks {sample['least_ratio']:.3f} x"


def _per_step(sample: Sample) -> str:
    return f"{sample['remote_step_s'] * 1e3:.2f} ms, embedded {sample['embedded_step_s'] * 1e3:.2f} ms"


def _to_bare(name: str, clock: str) -> Callable[[Sample, Sample], float]:
    return lambda _floor, perdure: float(perdure[f"{name}_{clock}_s"] / perdure[f"floor_{name}_{clock}_s"])


def _beside_bare(name: str) -> Callable[[Sample], str]:
    def shown(sample: Sample) -> str:
        ours, bare = sample[f"{name}_cpu_s"] * 1e6, sample[f"floor_{name}_cpu_s"] * 1e6
        return f"{ours:,.0f} us CPU, {1 / sample[f'{name}_wall_s']:,.0f}/s; bare SQLite {bare:,.0f} us CPU"

    return shown


def _imported(sample: Sample) -> str:
    return f"median {sample['median_s'] * 1e3:.0f} ms, loads {', '.join(sample['others']) or 'nothing else'}"


def _beside_dbos(sample: Sample) -> str:
    return f"{_rate(sample)}; DBOS {1 / sample['peer_wall_s']:,.0f}/s"


def _beside_postgres(sample: Sample) -> str:
    return f"{_rate(sample)}; PostgreSQL {1 / sample['postgres_s']:,.0f}/s"


def _beside_a_commit(sample: Sample) -> str:
    return f"{_latency(sample)}; commit {sample['commit_s'] * 1e3:.3f} ms wall"


def _by_nodes(sample: Sample) -> str:
    return ", ".join(
        f"{nodes}: {sample[f'{nodes}_cpu_s'] * 1e6:.0f} us CPU, {1 / sample[f'{nodes}_wall_s']:,.0f}/s"
        for nodes in ("one", "home", "any")
    )


def _traffic(sample: Sample) -> str:
    told = sample["traffic"]
    return "; ".join(f"{n}: {told[f'{n}']:.1f}/s, {told[f'{n}_cpu'] * 100:.1f} % CPU" for n in sample["nodes"])


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
        "... in a program that tunes the collector",
        "tuned",
        "x the floor",
        _throughput("cpu_s"),
        wall=_throughput("wall_s"),
        show=_rate,
    ),
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
    Figure(
        "round trip of a call of an actor against a step",
        "actor_call",
        "x the step's cost",
        _call_against_a_step("cpu"),
        Target(2),
        _call_against_a_step("wall"),
        _call_and_step,
    ),
    Figure(
        "... of a workflow that calls an actor",
        "actor_call",
        "x the step's cost",
        _inner_call_against_a_step("cpu"),
        wall=_inner_call_against_a_step("wall"),
    ),
    Figure(
        "1,000,000 actors, of which 1,000 are active, resident",
        "actors",
        "MB",
        _own("active_mb"),
        Target(300, worst_round=True),
        show=lambda s: f"peak {s['peak_mb']:.0f} MB; {s['count'] / s['made_s']:,.0f} made a second",
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
    Figure(
        "server, a workflow of a published SDK: CPU", "served", "ms", _own("cpu_s", 1e3), Target(1.8), show=_latency
    ),
    Figure("... above a server without an engine", "served", "ms", _above_empty, Target(0.4), show=_latency),
    Figure("... as often that server's", "served", "x", _cost("cpu_s"), wall=_cost("wall_s")),
    Figure(
        "server, 200 workers connected and idle, resident",
        "connected",
        "MB",
        _own("rss_mb"),
        Target(120, worst_round=True),
        show=lambda s: f"{s['alone_mb']:.0f} MB without them",
    ),
    Figure(
        "Perdure's own remote worker, a workflow: CPU",
        "remote_worker",
        "ms",
        _own("cpu_s", 1e3),
        Target(1.0),
        show=lambda s: f"its server {s['server_cpu_s'] * 1e3:.2f} ms",
    ),
    Figure("... step 1,000 against step 100", "remote_worker", "x", _growth, Target(1.2), show=_early_late),
    Figure(
        "... what the wire adds to a step, p50 wall",
        "remote_worker",
        "ms",
        lambda _floor, perdure: float(perdure["remote_step_s"] - perdure["embedded_step_s"]) * 1e3,
        Target(2),
        show=_per_step,
    ),
    Figure("state: get a key on SQLite", "state", "us", _own("get_wall_s", 1e6), Target(200), show=_beside_bare("get")),
    *(
        Figure(
            f"... set {what}",
            "state",
            "x bare SQLite's cost",
            _to_bare(name, "cpu"),
            wall=_to_bare(name, "wall"),
            show=_beside_bare(name),
        )
        for name, what in (("set", "a key, which waits for the disk"), ("all", "10,000 keys at once"))
    ),
    Figure(
        "1,000 calls of 0.1 s of one workflow on 4 node processes of 10 slots, against the ideal",
        "spread",
        "x",
        _own("ratio"),
        Target(1.3),
        show=lambda s: f"{s['wall_s']:.2f} s; a node made {s['least']:.0f} to {s['most']:.0f} of them",
    ),
    Figure(
        "publish until the workflow runs that it starts, p50, against a lone commit of SQLite",
        "topic_start",
        "x",
        _own("ratio"),
        Target(3),
        show=lambda s: f"{s['start_s'] * 1e3:.2f} ms; a commit {s['commit_s'] * 1e3:.2f}",
    ),
    Figure(
        "the same, while the end of the workflow before is being written",
        "topic_start",
        "x",
        _own("behind_ratio"),
        show=lambda s: f"{s['behind_s'] * 1e3:.2f} ms",
    ),
    Figure(
        "an agent's request to the model, with its tool: CPU above a plain run",
        "agents",
        "ms",
        _above_plain,
        Target(5),
        show=_agents,
    ),
    Figure("import perdure.agents, best of 5", "agents", "s", _own("import_s"), Target(2)),
    Figure(
        "one-activity workflows that are counted, and scraped, against others",
        "metrics",
        "x",
        _own("ratio"),
        Target(1.03),
        show=_watched,
    ),
    Figure(
        "one-activity workflows of which a tenth are traced over OTLP, against others",
        "traces",
        "x",
        _own("ratio"),
        Target(1.10),
        show=_watched,
    ),
    Figure(
        "one-activity workflows on PostgreSQL, 1,000 at once",
        "postgres",
        "x DBOS on the same server",
        _own("ratio"),
        Target(10, at_least=True),
        show=_beside_dbos,
    ),
    Figure(
        "... on Valkey that syncs always",
        "valkey",
        "x PostgreSQL",
        _own("ratio"),
        Target(0.5, at_least=True),
        show=_beside_postgres,
    ),
    Figure(
        "... on MariaDB",
        "mariadb",
        "x PostgreSQL",
        _own("ratio"),
        Target(0.5, at_least=True),
        show=_beside_postgres,
    ),
    Figure(
        "a lone sequential step on PostgreSQL, wall",
        "commit",
        "x one commit of a row",
        _own("ratio"),
        Target(2.5),
        show=_beside_a_commit,
    ),
    Figure(
        "10,000 in flight of a killed node run again on another, after its lease",
        "takeover",
        "s",
        _own("after_lease_s"),
        Target(5, worst_round=True),
        show=lambda s: f"{s['wall_s']:.1f} s after the kill, {s['count']:,.0f} of them",
    ),
    Figure(
        "two nodes on PostgreSQL that start their own workflows: CPU of one",
        "two_nodes",
        "x one node",
        lambda _floor, perdure: float(perdure["home_cpu_s"] / perdure["one_cpu_s"]),
        Target(1.15),
        show=_by_nodes,
    ),
    Figure(
        "... that start any",
        "two_nodes",
        "x one node",
        lambda _floor, perdure: float(perdure["any_cpu_s"] / perdure["one_cpu_s"]),
        Target(1.15),
    ),
    Figure("... turns that the store refused", "two_nodes", "turns", _own("refused"), Target(0, worst_round=True)),
    Figure(
        "idle nodes on PostgreSQL, transactions a second of each",
        "idle_nodes",
        "per s",
        _own("per_node"),
        show=_traffic,
    ),
    Figure(
        "throughput beside 1,000,000 finished instances",
        "filled",
        "x an empty store",
        _own("ratio"),
        Target(0.9, at_least=True),
        show=lambda s: f"{1 / s['wall_s']:,.0f}/s, empty {1 / s['empty_s']:,.0f}/s; {s['count']:,.0f} finished",
    ),
    Figure(
        "1,000,000 asleep on PostgreSQL, resident per node",
        "sleeping_nodes",
        "MB",
        _own("rss_mb"),
        Target(300, worst_round=True),
        show=lambda s: f"{s['starter_mb']:.0f} MB where {s['count']:,.0f} started, {s['node_mb']:.0f} MB in a new node",
    ),
    Figure(
        "... start of a node, until it owns its shards",
        "sleeping_nodes",
        "s",
        _own("owned_s"),
        Target(5, worst_round=True),
        show=lambda s: f"open after {s['ready_s']:.2f} s",
    ),
    Figure("... in the store, of each", "sleeping_nodes", "bytes", _own("bytes_each")),
)
