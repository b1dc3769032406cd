"""Where the broker of a component is."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from perdure.blocks.resources import Component
from perdure.errors import InvalidArgument
from perdure.remote.pubsub.addresses import address_of, group_of


def component(type: str, metadata: Mapping[str, str]) -> Component:
    return Component(name="bus", type=f"pubsub.{type}", version="v1", metadata=metadata, place="bus.yaml:1")


@pytest.mark.parametrize(
    "type, metadata, address",
    [
        ("perdure", {}, None),
        ("in-memory", {}, None),
        ("redis", {"redisHost": "h:6379"}, "redis://h:6379/0"),
        (
            "redis",
            {"redisHost": "h:6379", "redisPassword": "p@ss", "redisDB": "3", "enableTLS": "true"},
            "rediss://:p%40ss@h:6379/3",
        ),
        (
            "redis",
            {
                "redisHost": "h:1",
                "maxLenApprox": "100",
                "streamTTL": "1h",
                "processingTimeout": "5s",
                "parts": "4",
            },
            "redis://h:1/0?parts=4&lease=5.0&keep_messages=100&keep=3600.0",
        ),
        ("jetstream", {"natsURL": "nats://h:4222"}, "nats://h:4222"),
        ("jetstream", {"natsURL": "nats://h:4222", "token": "t/k", "ackWait": "30s"}, "nats://t%2Fk@h:4222?lease=30.0"),
    ],
)
def test_an_address_is_read_from_metadata(type, metadata, address):
    assert address_of(component(type, metadata)) == address


@pytest.mark.parametrize(
    "type, metadata",
    [("redis", {"redisHost": "h:1", "redisType": "cluster"}), ("jetstream", {"natsURL": "here"})],
)
def test_what_is_no_address_is_refused_with_its_place(type, metadata):
    with pytest.raises(InvalidArgument, match=r"bus\.yaml:1: "):
        address_of(component(type, metadata))


def test_a_group_is_the_app_unless_the_component_says_another():
    assert group_of(component("redis", {}), "shop") == "shop"
    assert group_of(component("redis", {"consumerID": "mine"}), "shop") == "mine"
    assert group_of(component("jetstream", {"durableName": "d"}), "shop") == "d"
