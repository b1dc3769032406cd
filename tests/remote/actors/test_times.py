"""Times of reminders and timers, as Dapr's SDKs write them."""

import pytest

from perdure.clock import SECOND
from perdure.errors import InvalidArgument
from perdure.remote.actors.times import Period, due_of, ends_of, period_of, seconds_of

NOW = 1_900_000_000 * SECOND


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("0h0m5s0ms0μs", 5.0),
        ("1h30m", 5_400.0),
        ("1.5s", 1.5),
        ("250ms", 0.25),
        ("10µs", 1e-5),
        ("0", 0.0),
        ("PT5S", 5.0),
        ("P1DT2H", 93_600.0),
        ("P1W", 604_800.0),
    ],
)
def test_durations(text, seconds):
    assert seconds_of(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "5x", "s", "-5s", "1h5", "P", "PT", "P1Y", "PT5", "5s5", "tomorrow", "1 h"])
def test_what_is_no_duration(text):
    assert seconds_of(text) is None


def test_when_it_comes_first():
    assert due_of("", NOW) == NOW
    assert due_of("5s", NOW) == NOW + 5 * SECOND
    assert due_of("2030-03-17T17:46:40Z", NOW) == due_of("2030-03-17T17:46:40", NOW) == NOW
    assert ends_of("", NOW) is None
    assert ends_of("PT1M", NOW) == NOW + 60 * SECOND
    with pytest.raises(InvalidArgument, match="an instant such as"):
        due_of("soon", NOW)


@pytest.mark.parametrize(
    "text, period",
    [
        ("", Period(None, None)),
        ("5s", Period(5 * SECOND, None)),
        ("R3/PT5S", Period(5 * SECOND, 3)),
        ("R3/5s", Period(5 * SECOND, 3)),
        ("R1", Period(None, 1)),
        ("0s", Period(None, None)),
    ],
)
def test_how_often_it_comes(text, period):
    assert period_of(text) == period


@pytest.mark.parametrize("text", ["R0/5s", "R/5s", "x/5s", "R3/", "R9999999999/5s", "daily"])
def test_what_is_no_period(text):
    with pytest.raises(InvalidArgument, match="repetitions such as R3/PT5S"):
        period_of(text)
