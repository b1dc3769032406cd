"""Options in the form that the engine keeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from perdure import Retry
from perdure.errors import InvalidArgument
from perdure.history.options import CallOptions, RetryPolicy
from perdure.sdk.options import call_options, checked_id, checked_name, start_options


def test_a_retry_becomes_a_policy_with_names_of_classes():
    retry = Retry(
        max_attempts=3,
        initial_interval=0.5,
        jitter=0.1,
        max_interval=9,
        non_retryable=(KeyError, "CardRefused"),
    )
    assert retry.policy() == RetryPolicy(
        max_attempts=3,
        initial_interval=0.5,
        jitter=0.1,
        max_interval=9,
        non_retryable=("KeyError", "CardRefused"),
    )


def test_durations_are_seconds_however_they_are_written():
    assert call_options(None, timedelta(minutes=1), 5) == CallOptions(timeout=60.0, heartbeat_timeout=5.0)


def test_options_of_a_call_stand_on_those_of_the_decorator():
    base = CallOptions(retry=RetryPolicy(max_attempts=3), timeout=60.0)
    assert call_options(None, None, None, base) == base
    assert call_options(None, 5, None, base) == CallOptions(retry=base.retry, timeout=5.0)
    assert call_options(Retry(max_attempts=1), None, None, base).timeout == 60.0


def test_starts_are_kept_in_microseconds():
    at = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    options = start_options("x", at, {"a": "b"}, "shop", "return", timedelta(seconds=2))
    assert (options.at, options.run_timeout) == (1_000_000, 2_000_000)
    assert (options.id, options.tags, options.app_id, options.if_exists) == (
        "x",
        {"a": "b"},
        "shop",
        "return",
    )


def test_tags_are_copied():
    tags = {"a": "b"}
    options = start_options(None, None, tags, None, "raise", None)
    tags["c"] = "d"
    assert options.tags == {"a": "b"}


def test_ids_and_names_have_their_bounds():
    assert checked_id("ä" * 512) == "ä" * 512
    assert checked_name("x" * 256) == "x" * 256
    for bad in ("", "ä" * 513, "a\tb"):
        with pytest.raises(InvalidArgument):
            checked_id(bad)
    for bad in ("", "x" * 257, "a\tb"):
        with pytest.raises(InvalidArgument):
            checked_name(bad)
