"""How much each scenario does: the full size, which the figures are defined on, and a quick one."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """Counts of one scenario's work; times in seconds."""

    warm_up: int = 200
    warm_up_steps: int = 1_000
    one_by_one: int = 500
    crowd: int = 10_000
    served: int = 3_000
    sequences: int = 100
    steps: int = 100
    lone_steps: int = 300
    lone_repeats: int = 3
    stream_repeats: int = 5
    early_steps: tuple[int, int] = (50, 350)
    late_steps: tuple[int, int] = (9_850, 10_150)
    early_calls: tuple[int, int] = (1, 199)
    late_calls: tuple[int, int] = (8_000, 12_000)
    early_repeats: int = 30
    fan_out: int = 1_000
    fan_out_repeats: int = 5
    in_flight: int = 10_000
    asleep: int = 100_000
    falling_due: int = 20_000
    due_per_second: int = 1_000
    settle: float = 5.0
    imports: int = 10
    peer_crowd: int = 2_000
    commits: int = 500
    taken_over: int = 10_000
    nodes: tuple[int, ...] = (1, 4, 16)
    quiet: float = 10.0
    stored: int = 1_000_000
    values: int = 10_000
    state_repeats: int = 3
    active: int = 1_000
    active_rounds: int = 5


FULL = Size()
QUICK = Size(
    one_by_one=100,
    crowd=2_000,
    served=800,
    steps=20,
    lone_repeats=1,
    stream_repeats=2,
    late_steps=(1_850, 2_150),
    late_calls=(1_500, 2_500),
    early_repeats=5,
    fan_out_repeats=2,
    in_flight=1_000,
    asleep=8_000,
    falling_due=4_000,
    settle=2.0,
    imports=3,
    peer_crowd=300,
    commits=200,
    taken_over=500,
    nodes=(1, 4),
    quiet=4.0,
    stored=20_000,
    values=1_000,
    state_repeats=2,
)
