"""Which instance an event is about."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from perdure.errors import InvalidArgument
from perdure.sdk.cloud_event import CloudEvent
from perdure.sdk.correlation import correlation, id_of

EVENT = CloudEvent(
    id="e1",
    topic="orders",
    source="shop",
    type="placed",
    time=datetime(2026, 1, 1, tzinfo=UTC),
    data={"order": {"id": "a", "items": [{"n": 7}]}, "odd name": "b", "list": []},
    key="k",
    extensions={"tenant": "t"},
)


@pytest.mark.parametrize(
    "asked, id",
    [
        ("key", "k"),
        ("id", "e1"),
        ("data.order.id", "a"),
        ("data.order.items[0].n", "7"),
        ("data['odd name']", "b"),
        ("extensions.tenant", "t"),
        ("order-{data.order.id}/{key}", "order-a/k"),
        ("{type}", "placed"),
    ],
)
def test_a_path_leads_into_the_event(asked, id):
    assert id_of(correlation(asked), EVENT) == id


@pytest.mark.parametrize(
    "asked", ["", "order.id", "data..id", "data.", "data[x]", "data order", "x-{data.id", "}", "{}", "a{b}", 7, None]
)
def test_what_is_no_path_is_refused_when_it_is_read(asked):
    with pytest.raises(InvalidArgument):
        correlation(asked)


@pytest.mark.parametrize("asked", ["data.order.name", "data.list[0]", "key.more", "data.order.id.more"])
def test_a_path_that_leads_nowhere_says_so(asked):
    with pytest.raises(InvalidArgument, match="has nothing at"):
        id_of(correlation(asked), EVENT)


def test_what_it_leads_to_must_be_an_id():
    for asked in ("data.order", "data.list", lambda event: None, lambda event: True, lambda event: ""):
        with pytest.raises(InvalidArgument, match="instance id"):
            id_of(correlation(asked), EVENT)
    assert id_of(correlation(lambda event: event.data["order"]["id"]), EVENT) == "a"
