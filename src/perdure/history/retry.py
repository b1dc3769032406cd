"""When a failed attempt is made again."""

from __future__ import annotations

from perdure.history.events import Failure
from perdure.history.options import RetryPolicy

NO_RETRY = RetryPolicy(max_attempts=1)


def next_attempt(
    policy: RetryPolicy | None, attempt: int, scheduled: int, now: int, failure: Failure, chance: float
) -> int | None:
    """When attempt number `attempt + 1` is due, in microseconds since 1970; None: the call has failed for good.

    The delay is initial_interval * backoff ** (attempt - 1), at most max_interval, spread by plus or minus `jitter`
    (a share of it) with `chance` in [0, 1). `scheduled` is when the call was made, for `total_timeout`.
    """
    policy = policy or NO_RETRY
    if failure.non_retryable or failure.type in policy.non_retryable:
        return None
    if policy.max_attempts is not None and attempt >= policy.max_attempts:
        return None
    due = now + round(delay(policy, attempt, chance) * 1_000_000)
    if policy.total_timeout is not None and due >= scheduled + policy.total_timeout * 1_000_000:
        return None
    return due


EXPONENT_MAX = 1_000
"""Past it every backoff is far beyond any interval and the power would overflow."""


def delay(policy: RetryPolicy, attempt: int, chance: float) -> float:
    """Seconds between the failure of `attempt` and the next one."""
    try:
        seconds = policy.initial_interval * policy.backoff ** min(attempt - 1, EXPONENT_MAX)
    except OverflowError:
        seconds = float("inf")
    if policy.max_interval is not None:
        seconds = min(seconds, policy.max_interval)
    seconds = min(seconds, 10 * 365 * 86400.0)
    return seconds * (1 + policy.jitter * (2 * chance - 1))
