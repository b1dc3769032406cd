"""Filters of instances are the same wherever they are given."""

from __future__ import annotations

import inspect

import pytest

from perdure.errors import InvalidArgument
from perdure.sdk.client import Client
from perdure.sdk.filters import FILTERS, query_of


def test_a_list_takes_every_filter_and_no_other():
    taken = inspect.signature(Client.list).parameters.keys()
    assert taken - {"self", "limit"} == FILTERS


def test_what_is_no_filter_of_a_survey_is_named(run):
    async def scenario():
        with pytest.raises(InvalidArgument, match="explain_all got an unexpected keyword argument 'nmae'"):
            await Client(None).explain_all(nmae="checkout")  # type: ignore[arg-type]

    run(scenario)


@pytest.mark.parametrize("status", ["lost", 7, ["running", None]])
def test_a_status_that_there_is_not_is_refused(status):
    with pytest.raises(InvalidArgument, match="is none of"):
        query_of(status=status)


def test_a_status_may_be_written_in_capitals():
    assert query_of(status=["RUNNING", "Failed"]).status == ("running", "failed")
