"""What a worker takes, and which flavour its request gives away."""

from __future__ import annotations

import pytest

from perdure.errors import MalformedMessage
from perdure.remote.requests import Capability, Filters, Flavour, OpenStream
from perdure.remote.wire.opening import read_open_stream
from tests.remote.wire.goldens import CODECS, FLAVOURS, SCHEMAS, golden


@pytest.mark.parametrize(
    "data, turns, capabilities, hint",
    [
        ("22020302", 0, {Capability.HEALTH_PING, Capability.STATEFUL_HISTORY}, Flavour.DAPR),  # dapr 1.19
        ("220103", 0, {Capability.HEALTH_PING}, Flavour.DAPR),  # the same without stateful history
        ("", 0, set(), None),  # dapr-ext-workflow 1.18.3, JavaScript, Java, .NET
        ("08c80110c801", 200, set(), None),  # durabletask of Python, and durabletask-dapr 0.17.4
        ("520101", 0, {Capability.HISTORY_STREAMING}, Flavour.MICROSOFT),
        ("1805", 0, set(), Flavour.MICROSOFT),
        ("5a00", 0, set(), Flavour.MICROSOFT),
        ("620177", 0, set(), Flavour.MICROSOFT),
    ],
)
def test_requests_that_were_seen_on_the_wire(data, turns, capabilities, hint):
    opened = read_open_stream(bytes.fromhex(data))
    assert (opened.turns_max, opened.activities_max) == (turns, turns)
    assert opened.capabilities == capabilities
    assert opened.hint is hint


def test_a_request_of_an_sdk_arrives():
    opened = read_open_stream(golden(Flavour.MICROSOFT, "GetWorkItemsRequest"))
    assert 0 < opened.turns_max < opened.activities_max < opened.entities_max
    workflows = "workItemFilters.orchestrations"
    assert opened.filters.workflows == {
        f"{workflows}.name": frozenset({f"{workflows}.versions.a", f"{workflows}.versions.b"})
    }
    assert list(opened.filters.activities) == ["workItemFilters.activities.name"]
    assert opened.filters.entities == {"workItemFilters.entities.name"}


def test_a_name_that_is_given_twice_takes_what_either_takes():
    request = SCHEMAS[Flavour.MICROSOFT].GetWorkItemsRequest()
    for versions in (["1"], ["2", "3"]):
        request.workItemFilters.workflows.add(name="a", versions=versions)
        request.workItemFilters.activities.add(name="b", versions=versions)
    request.workItemFilters.activities.add(name="b")
    filters = read_open_stream(request.SerializeToString()).filters
    assert filters == Filters(workflows={"a": frozenset("123")}, activities={"b": frozenset()})


def test_filters_that_are_there_and_empty_take_nothing():
    assert read_open_stream(bytes.fromhex("5a00")).filters == Filters()
    assert read_open_stream(b"").filters is None


def test_a_capability_of_tomorrow_is_passed_over():
    assert read_open_stream(bytes.fromhex("220163")) == OpenStream(hint=Flavour.DAPR)


def test_a_negative_bound_is_refused():
    with pytest.raises(MalformedMessage):
        read_open_stream(b"\x08" + b"\xff" * 9 + b"\x01")


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_worker_of_ours_asks_as_an_sdk_does(flavour):
    opened = OpenStream(
        turns_max=3,
        activities_max=4,
        entities_max=5,
        capabilities=frozenset({Capability.STATEFUL_HISTORY, Capability.SCHEDULED_TASKS}),
        filters=Filters(workflows={"a": frozenset("12")}, activities={"b": frozenset()}, entities=frozenset({"e"})),
        worker="w",
    )
    again = read_open_stream(CODECS[flavour].peer.write_open_stream(opened))
    assert again.hint is flavour
    if flavour is Flavour.MICROSOFT:
        assert (again.turns_max, again.activities_max, again.entities_max, again.worker) == (3, 4, 5, "w")
        assert again.filters == opened.filters
        assert again.capabilities == {Capability.SCHEDULED_TASKS}
    else:
        assert again.capabilities == {Capability.STATEFUL_HISTORY}
