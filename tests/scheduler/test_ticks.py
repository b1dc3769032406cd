"""Ticks of calendars: cron across changes of the clocks, intervals, bounds; and every mistake told once."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.clock import LATEST, SECOND, to_datetime, to_microseconds
from perdure.errors import InvalidArgument
from perdure.scheduler.ticks import Calendar, check, count, ticks, zone

MINUTE, HOUR, DAY = 60 * SECOND, 3_600 * SECOND, 86_400 * SECOND


def at(text: str) -> int:
    return to_microseconds(datetime.fromisoformat(text))


def told(calendar: Calendar, after: str, how_many: int) -> list[str]:
    """The ticks on the calendar's own clocks, with their offset."""
    found = islice(ticks(calendar, at(after)), how_many)
    return [to_datetime(tick).astimezone(zone(calendar.timezone)).isoformat() for tick in found]


@pytest.mark.parametrize(
    "timezone,cron,after,expected",
    [
        # the spring change: what does not exist ticks once, when the gap ends
        (
            "Europe/Berlin",
            "30 2 * * *",
            "2026-03-28T12:00+01:00",
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"],
        ),
        (
            "America/New_York",
            "30 2 * * *",
            "2026-03-07T12:00-05:00",
            ["2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"],
        ),
        (
            "Australia/Lord_Howe",  # half an hour
            "15 2 * * *",
            "2026-10-03T12:00+10:30",
            ["2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"],
        ),
        ("Africa/Cairo", "0 0 * * *", "2026-04-23T12:00+02:00", ["2026-04-24T01:00:00+03:00"]),
        # two times of day in one gap are one moment, which ticks once
        (
            "Europe/Berlin",
            "15,45 2 * * *",
            "2026-03-28T12:00+01:00",
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:15:00+02:00", "2026-03-30T02:45:00+02:00"],
        ),
        # the autumn change: what comes twice ticks at the first
        (
            "Europe/Berlin",
            "30 2 * * *",
            "2026-10-24T12:00+02:00",
            ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"],
        ),
        (
            "Europe/Berlin",  # asked between the two
            "30 2 * * *",
            "2026-10-25T02:10+01:00",
            ["2026-10-26T02:30:00+01:00"],
        ),
        (
            "Australia/Lord_Howe",
            "45 1 * * *",
            "2026-04-04T12:00+11:00",
            ["2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"],
        ),
        # a star for the hour follows elapsed time
        (
            "Europe/Berlin",
            "0 * * * *",
            "2026-10-25T01:30+02:00",
            ["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"],
        ),
        (
            "Europe/Berlin",
            "*/30 * * * *",
            "2026-03-29T01:10+01:00",
            ["2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"],
        ),
        # zones that are not whole hours off
        (
            "Asia/Kolkata",
            "0 9 * * 1-5",
            "2026-01-02T10:00+05:30",
            ["2026-01-05T09:00:00+05:30", "2026-01-06T09:00:00+05:30"],
        ),
        ("Asia/Kathmandu", "15 0 * * *", "2026-01-02T10:00+05:45", ["2026-01-03T00:15:00+05:45"]),
        # leap days, ends of months
        (
            "UTC",
            "0 0 29 2 *",
            "2026-01-01T00:00+00:00",
            ["2028-02-29T00:00:00+00:00", "2032-02-29T00:00:00+00:00"],
        ),
        ("UTC", "0 0 29 2 *", "2097-01-01T00:00+00:00", ["2104-02-29T00:00:00+00:00"]),
        (
            "UTC",
            "0 0 31 * *",
            "2026-01-31T00:00+00:00",
            ["2026-03-31T00:00:00+00:00", "2026-05-31T00:00:00+00:00"],
        ),
        (
            "UTC",
            "0 0 L * *",
            "2026-01-31T00:00+00:00",
            ["2026-02-28T00:00:00+00:00", "2026-03-31T00:00:00+00:00"],
        ),
        # names, and the strictness of "after"
        ("UTC", "@daily", "2026-01-31T00:00+00:00", ["2026-02-01T00:00:00+00:00"]),
        ("UTC", "0 12 * JAN MON", "2026-01-31T00:00+00:00", ["2027-01-04T12:00:00+00:00"]),
    ],
)
def test_cron_on_the_clocks_of_a_zone(timezone, cron, after, expected):
    calendar = Calendar(cron=cron, timezone=timezone)
    check(calendar)
    assert told(calendar, after, len(expected)) == expected


def test_a_tick_is_later_than_what_it_is_asked_after_and_its_microseconds_do_not_matter():
    calendar = Calendar(cron="* * * * *")
    minute = at("2026-01-01T00:00+00:00")
    assert next(ticks(calendar, minute)) == minute + MINUTE
    assert next(ticks(calendar, minute - 1)) == minute
    assert next(ticks(calendar, minute + 1)) == minute + MINUTE


ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kolkata", "UTC"]
CRONS = ["30 2 * * *", "0 3 * * 0", "*/20 * * * *", "0 */2 * * *", "15,45 1,2 * * *", "0 0 1 * *"]


@given(st.sampled_from(ZONES), st.sampled_from(CRONS), st.integers(0, 400 * 24 * 60))
def test_whoever_goes_on_after_a_tick_sees_the_same_ticks(timezone, cron, minutes):
    """A schedule asks anew after each tick: nothing may come twice, go back, or be left out by that."""
    calendar = Calendar(cron=cron, timezone=timezone)
    begin = at("2026-01-01T00:00+00:00") + minutes * MINUTE
    in_one_go = list(islice(ticks(calendar, begin), 5))
    one_by_one = []
    last = begin
    for _ in range(5):
        last = next(ticks(calendar, last))
        one_by_one.append(last)
    assert one_by_one == in_one_go
    assert all(before < after for before, after in pairwise([begin, *in_one_go]))


def test_an_interval_counts_from_1970_or_from_its_start():
    begin = at("2026-01-01T00:07+00:00")
    quarter = Calendar(every=15 * MINUTE)
    assert told(quarter, "2026-01-01T00:07+00:00", 2) == ["2026-01-01T00:15:00+00:00", "2026-01-01T00:30:00+00:00"]
    anchored = Calendar(every=15 * MINUTE, start=begin)
    assert list(islice(ticks(anchored, begin - DAY), 3)) == [begin, begin + 15 * MINUTE, begin + 30 * MINUTE]
    assert next(ticks(anchored, begin)) == begin + 15 * MINUTE
    assert next(ticks(anchored, begin + 100 * DAY)) == begin + 100 * DAY + 15 * MINUTE


@given(st.integers(SECOND, 400 * DAY), st.integers(0, 4_000_000_000 * SECOND), st.none() | st.integers(0, LATEST))
def test_intervals_are_aligned_and_leave_none_out(every, after, start):
    calendar = Calendar(every=every, start=start)
    found = list(islice(ticks(calendar, after), 3))
    anchor = start or 0
    for tick in found:
        assert tick > after
        assert tick >= anchor
        assert (tick - anchor) % every == 0
    assert all(later - earlier == every for earlier, later in pairwise(found))
    assert not found or found[0] - every <= after or found[0] == anchor


def test_start_belongs_to_a_schedule_and_end_does_not():
    day = at("2026-01-01T00:00+00:00")
    calendar = Calendar(cron="0 0 * * *", start=day, end=day + 3 * DAY)
    assert list(ticks(calendar, 0)) == [day, day + DAY, day + 2 * DAY]
    assert list(ticks(calendar, day + 2 * DAY)) == []


def test_a_count_stops_at_its_bound():
    calendar = Calendar(cron="* * * * *")
    day = at("2026-01-01T00:00+00:00")
    assert count(calendar, day, day + HOUR, 1_000) == 60
    assert count(calendar, day, day + DAY, 100) == 100
    assert count(Calendar(cron="* * * * *", end=day + 5 * MINUTE), day, day + HOUR, 100) == 5


def test_the_end_of_time_ends_a_calendar():
    late = at("9999-12-30T12:00+00:00")
    assert len(list(ticks(Calendar(cron="0 0 * * *"), late))) <= 2
    assert list(ticks(Calendar(every=DAY), LATEST - 1)) == []
    assert list(ticks(Calendar(cron="0 0 * * *", timezone="Europe/Berlin"), LATEST - 1)) == []


WRONG = [
    (Calendar(), "give one of them"),
    (Calendar(cron="* * * * *", every=MINUTE), "give one of them"),
    (Calendar(cron=""), "five fields"),
    (Calendar(cron="* * * *"), "five fields"),
    (Calendar(cron="* * * * * *"), "every="),
    (Calendar(cron="@reboot"), "five fields"),
    (Calendar(cron="61 * * * *"), "Bad minute"),
    (Calendar(cron="* 24 * * *"), "Bad hour"),
    (Calendar(cron="* * 0 * *"), "Bad day-of-month"),
    (Calendar(cron="* * * 13 *"), "Bad month"),
    (Calendar(cron="* * * * 9"), "Bad day-of-week"),
    (Calendar(cron="0 0 30 2 *"), "Bad day-of-month"),
    (Calendar(cron="*/0 * * * *"), "Bad minute"),
    (Calendar(cron="a b c d e"), "Bad minute"),
    (Calendar(cron="1," * 500 + "1 * * * *"), "five fields"),
    (Calendar(cron="* * * * *", timezone=""), "time zone"),
    (Calendar(cron="* * * * *", timezone="Europe/Nowhere"), "time zone"),
    (Calendar(cron="* * * * *", timezone="Europe"), "time zone"),
    (Calendar(cron="* * * * *", timezone="../../etc/passwd"), "time zone"),
    (Calendar(cron="* * * * *", timezone="a\0b"), "time zone"),
    (Calendar(every=MINUTE, timezone="Europe/Berlin"), "no time zone"),
    (Calendar(every=SECOND - 1), "1 second or more"),
    (Calendar(every=0), "1 second or more"),
    (Calendar(every=-MINUTE), "1 second or more"),
    (Calendar(every=HOUR, start=DAY, end=DAY), "before its start"),
    (Calendar(cron="0 0 29 2 *", start=at("2026-01-01T00:00+00:00"), end=at("2027-01-01T00:00+00:00")), "never ticks"),
]


@pytest.mark.parametrize("calendar,sentence", WRONG, ids=range(len(WRONG)))
def test_a_calendar_that_cannot_be_read_is_one_clear_error(calendar, sentence):
    with pytest.raises(InvalidArgument) as caught:
        check(calendar)
    assert sentence in str(caught.value)


def test_without_the_extra_intervals_work_and_cron_says_what_to_install():
    program = """
import sys
sys.modules["cronsim"] = None
from itertools import islice
from perdure.errors import InvalidArgument
from perdure.scheduler.ticks import Calendar, check, ticks
check(Calendar(every=60_000_000))
try:
    check(Calendar(cron="* * * * *"))
except InvalidArgument as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert 'pip install "perdure[schedule]"' in done.stdout


def test_a_worst_case_expression_is_answered_within_a_turn():
    began = datetime.now(UTC)
    list(islice(ticks(Calendar(cron="0 0 29 2 MON#5", timezone="Europe/Berlin"), at("2026-01-01T00:00+00:00")), 1))
    assert datetime.now(UTC) - began < timedelta(seconds=1)
