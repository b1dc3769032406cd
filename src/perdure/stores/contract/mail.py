"""Messages to instances, and what becomes of them."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

from perdure.stores.contract.instances import Head


class Mail(msgspec.Struct, frozen=True, gc=False):
    """A message to an instance, kept until a turn consumes it.

    `key` is the message id, derived from its sender and unique per instance: mail whose key is already there
    or remembered as seen is dropped. `execution` and `generation` name the run a reply is for (None: the
    current one). `event` is the event it brings, as JSON. `at` is when it was sent. `app` is whose instance
    it is for, where a turn sends it (None: the sender's app); it is an address, not kept, so mail that is
    read back has None.
    """

    instance: str
    key: str
    event: bytes
    at: int
    execution: str | None = None
    generation: int | None = None
    app: str | None = None


class Delivery(StrEnum):
    """What became of one message."""

    DELIVERED = "delivered"
    DUPLICATE = "duplicate"
    NO_INSTANCE = "no-instance"
    FINISHED = "finished"
    FULL = "full"


NOBODY = (Delivery.NO_INSTANCE, Delivery.FINISHED)
"""There is nobody who takes the message."""


class Letter(NamedTuple):
    """Mail as the owner of its shard finds it.

    `new` comes with the first of an instance that was created and no more: it has taken no turn and has no wait, and
    all of its mail is on the page, so that nothing else needs to be read. A store may leave it out.
    """

    shard: int
    mail: Mail
    new: Head | None = None
