"""Which messages run alone after deaths, and which are set aside."""

from __future__ import annotations

import pytest

from perdure.history.subscribing import Verdict
from perdure.history.suspicion import ALONE_DEATHS, Course, conviction, course_of


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


def test_a_conviction_says_why():
    handled = conviction(3)
    assert handled.verdict == Verdict.DROP
    assert handled.reason == (
        "quarantined: its process died 3 times running while this message was in hand, "
        "the last 2 times with no other suspect"
    )
