"""Which messages run alone after deaths, and which are set aside."""

from __future__ import annotations

import pytest

from perdure.history.subscribing import SubscribeOptions, Verdict
from perdure.history.suspicion import (
    ALONE_DEATHS,
    BESIDE_DEATHS,
    Course,
    conviction,
    course_behind,
    course_lent,
    course_of,
    deaths_max_behind,
)


@pytest.mark.parametrize(
    "deaths_max, courses",
    [
        (3, [Course.BESIDE, Course.ALONE, Course.ALONE, Course.SET_ASIDE, Course.SET_ASIDE]),
        (2, [Course.ALONE, Course.ALONE, Course.SET_ASIDE]),
        (5, [Course.BESIDE] * 3 + [Course.ALONE] * ALONE_DEATHS + [Course.SET_ASIDE]),
        (None, [Course.BESIDE] * 50),
    ],
)
def test_the_last_deaths_before_the_bound_have_a_message_alone(deaths_max, courses):
    assert [course_of(unheard, deaths_max) for unheard in range(len(courses))] == courses


@pytest.mark.parametrize(
    "deaths_max, courses",
    [
        (3, [Course.BESIDE, Course.ALONE, Course.ALONE, Course.SET_ASIDE]),
        (2, [Course.BESIDE, Course.ALONE, Course.ALONE, Course.SET_ASIDE]),
        (None, [Course.BESIDE] * 50),
    ],
)
def test_on_loan_the_first_death_counts_and_the_last_ones_have_a_message_alone(deaths_max, courses):
    assert [course_lent(unheard, deaths_max) for unheard in range(len(courses))] == courses


@pytest.mark.parametrize("dead_letter, is_judged, early", [("x", True, True), (None, True, False), ("x", False, False)])
def test_behind_a_server_a_message_is_given_up_early_where_that_is_asked_for_and_loses_nothing(
    dead_letter, is_judged, early
):
    options = SubscribeOptions(dead_letter=dead_letter, attempts_max=7)
    deaths_max = deaths_max_behind(options, is_judged=is_judged)
    assert deaths_max == (BESIDE_DEATHS if early else 7) + ALONE_DEATHS
    courses = [course_behind(unheard, deaths_max) for unheard in range(deaths_max + 1)]
    assert courses == [Course.BESIDE] * 2 + [Course.ALONE] * (deaths_max - 2) + [Course.SET_ASIDE]


def test_a_conviction_says_why():
    handled = conviction(3)
    assert handled.verdict == Verdict.DROP
    assert handled.reason == (
        "quarantined: its process died 3 times running while this message was in hand, "
        "the last 2 times with no other suspect"
    )
