"""When a failed attempt is made again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.history.events import Failure
from perdure.history.options import RetryPolicy
from perdure.history.retry import delay, next_attempt

SECOND = 1_000_000
BAD = Failure(type="ValueError", message="no")


def due(
    policy: RetryPolicy | None,
    attempt: int = 1,
    failure: Failure = BAD,
    scheduled: int = 0,
    chance: float = 0.5,
) -> int | None:
    return next_attempt(policy, attempt, scheduled, 100 * SECOND, failure, chance)


def test_without_a_policy_there_is_no_second_attempt():
    assert due(None) is None


def test_attempts_are_bounded_and_unbounded_ones_go_on():
    assert due(RetryPolicy(max_attempts=3), 2) is not None
    assert due(RetryPolicy(max_attempts=3), 3) is None
    assert due(RetryPolicy(), 1_000_000) is not None


@pytest.mark.parametrize("attempt, seconds", [(1, 2.0), (2, 6.0), (3, 18.0), (4, 20.0), (5, 20.0)])
def test_delays_grow_by_the_backoff_up_to_the_interval(attempt, seconds):
    policy = RetryPolicy(initial_interval=2.0, backoff=3.0, max_interval=20.0)
    assert delay(policy, attempt, 0.5) == seconds
    assert due(policy, attempt) == round((100 + seconds) * SECOND)


@pytest.mark.parametrize("chance, seconds", [(0.0, 8.0), (0.5, 10.0), (0.75, 11.0)])
def test_jitter_spreads_the_delay_both_ways(chance, seconds):
    assert delay(RetryPolicy(initial_interval=10.0, jitter=0.2), 1, chance) == pytest.approx(seconds)


def test_the_total_timeout_bounds_the_start_of_the_last_attempt():
    policy = RetryPolicy(initial_interval=10.0, total_timeout=120.0)
    assert due(policy, scheduled=0) == 110 * SECOND
    assert due(policy, scheduled=-10 * SECOND) is None


def test_some_failures_are_final():
    assert due(RetryPolicy(non_retryable=("ValueError",))) is None
    assert due(RetryPolicy(non_retryable=("KeyError",))) is not None
    assert due(RetryPolicy(), failure=Failure(type="X", message="", non_retryable=True)) is None


@given(
    policy=st.builds(
        RetryPolicy,
        initial_interval=st.floats(0, 1e9),
        backoff=st.floats(1, 1e6),
        max_interval=st.none() | st.floats(0, 1e9),
        jitter=st.floats(0, 1),
    ),
    attempt=st.integers(1, 10**9),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_a_delay_is_always_finite_and_never_negative(policy, attempt, chance):
    seconds = delay(policy, attempt, chance)
    assert 0 <= seconds <= 20 * 365 * 86_400
    assert policy.max_interval is None or seconds <= policy.max_interval * (1 + policy.jitter) + 1e-6
