"""Everything that reads bytes of others, and messages that it has to read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from perdure.errors import MalformedMessage
from perdure.remote.native import calls
from perdure.remote.native.codec import NATIVE
from perdure.remote.native.envelope import read_batch, read_envelope
from perdure.remote.wire import entities, instance_requests, pubsub, runtime
from perdure.remote.wire.addresses import read_activity_address, read_turn_address
from perdure.remote.wire.opening import read_open_stream
from tests.remote.wire.goldens import CODECS, FLAVOURS, GOLDEN

OF_REQUESTS = (
    "about",
    "abandon",
    "list_of_dapr",
    "list_of_microsoft",
    "pause",
    "purge",
    "query",
    "raise",
    "rerun",
    "start",
)
OF_ENTITIES = ("about_entity", "clean", "entity_query", "signal")
OF_RUNTIME = ("about", "pause", "purge", "raise", "set_metadata", "start", "terminate")
OF_CODECS = ("event", "item", "turn_result", "activity_result", "entity_result", "list")
OF_PEERS = ("started", "view", "purged", "history")
OF_NATIVE = ("item", "turn_result", "activity_result")
NATIVE_CALLS = (calls.HELLO, calls.BEAT, calls.BEGIN, calls.PUT, calls.LEAVE, *calls.CALLS.values())
READERS: list[Callable[[bytes], Any]] = [
    *(getattr(instance_requests, f"read_{name}") for name in (*OF_REQUESTS, "terminate")),
    *(getattr(entities, f"read_{name}") for name in OF_ENTITIES),
    *(getattr(runtime, f"read_{name}") for name in OF_RUNTIME),
    *(getattr(CODECS[flavour], f"read_{name}") for flavour in FLAVOURS for name in OF_CODECS),
    *(getattr(CODECS[flavour].peer, f"read_{name}") for flavour in FLAVOURS for name in OF_PEERS),
    *(pubsub.read_publish, pubsub.read_bulk, pubsub.read_frame),
    *(read_open_stream, read_turn_address, read_activity_address),
    *(getattr(NATIVE, f"read_{name}") for name in OF_NATIVE),
    *(read_envelope, read_batch),
    *(partial(calls.read_request, call) for call in NATIVE_CALLS),
]
SAMPLES = [bytes.fromhex(data) for kinds in GOLDEN.values() for one in kinds.values() for data in one.values()]


def offer(data: bytes) -> None:
    """Give the bytes to every reader; anything but the one error goes through."""
    for reader in READERS:
        try:
            reader(data)
        except MalformedMessage:
            continue
