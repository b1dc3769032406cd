"""Which work an answer is to: read before anybody knows in which flavour the rest of it has to be read."""

from __future__ import annotations

from typing import NamedTuple

from perdure.remote.wire.schema import DAPR_SCHEMA


class Address(NamedTuple):
    """`token` is empty from workers that do not repeat it; `number` is that of an activity call."""

    instance: str
    number: int
    token: str


def read_turn_address(data: bytes) -> Address:
    """Of an answer to a turn. Raises MalformedMessage."""
    message = DAPR_SCHEMA.parse("TurnAnswerAddress", data)
    return Address(message.instanceId, 0, message.completionToken)


def read_activity_address(data: bytes) -> Address:
    """Of an answer to an attempt. Raises MalformedMessage."""
    message = DAPR_SCHEMA.parse("ActivityAnswerAddress", data)
    return Address(message.instanceId, message.taskId, message.completionToken)
