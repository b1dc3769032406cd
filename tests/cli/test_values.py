"""Text to values, without a shell."""

from datetime import UTC, datetime, timedelta

import pytest

from perdure.cli.screen import clean, span
from perdure.cli.values import instant, json_value, pairs, seconds
from perdure.errors import InvalidArgument

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text, expected", [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7_200), ("7d", 604_800), ("0", 0)]
)
def test_durations(text, expected):
    assert seconds(text, "--timeout") == expected


@pytest.mark.parametrize("text", ["", "s", "-1", "1w", "1 m", "nan", "1e3", "5m5"])
def test_what_is_no_duration(text):
    with pytest.raises(InvalidArgument, match="--timeout"):
        seconds(text, "--timeout")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("2030-01-31T13:00:00+01:00", NOW),
        ("2030-01-31T12:00:00", NOW),
        ("2030-01-31 12:00Z", NOW),
        ("+2h", NOW + timedelta(hours=2)),
        ("-30m", NOW - timedelta(minutes=30)),
    ],
)
def test_instants(text, expected):
    assert instant(text, "--at", NOW) == expected


@pytest.mark.parametrize("text", ["", "tomorrow", "+", "+2w", "-99999999d", "2030-13-01"])
def test_what_is_no_instant(text):
    with pytest.raises(InvalidArgument, match="--at"):
        instant(text, "--at", NOW)


def test_pairs_split_at_the_first_equals():
    assert pairs(["a=b", "c=d=e", "f="], "--tag") == {"a": "b", "c": "d=e", "f": ""}
    for bad in ("a", "=b", ""):
        with pytest.raises(InvalidArgument, match="--tag"):
            pairs([bad], "--tag")


@pytest.mark.parametrize("text", ["", "{", "hello", "NaN", "Infinity", "[" * 100_000])
def test_what_is_no_json(text):
    with pytest.raises(InvalidArgument, match=r"argument 1 .* is not JSON"):
        json_value(text, "argument 1")


def test_clean_text_cannot_act_on_a_terminal():
    assert clean("plain ü [red]") == "plain ü [red]"
    assert clean("\x1b[31m\n\x9b\u202e\udc80\t") == r"\x1b[31m\n\x9b\u202e\udc80\t"


@pytest.mark.parametrize(
    "duration, expected",
    [(0.254, "0.25s"), (12, "12s"), (185, "3m05s"), (7_800, "2h10m"), (356_400, "4d03h")],
)
def test_spans(duration, expected):
    assert span(timedelta(seconds=duration)) == expected
