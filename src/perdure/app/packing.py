"""What stands between an app's engine and its code, or its client, where the app has a codec; most have none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.codec import PLAIN, Codec, Writer
from perdure.errors import InvalidArgument
from perdure.sdk.gateway import Gateway

if TYPE_CHECKING:
    from perdure.sdk.packing.worker import PackingWorker
    from perdure.sdk.subscriptions import Receiver
    from perdure.sdk.worker import Worker


def checked_codec(codec: Codec | None) -> Codec | None:
    """Raises InvalidArgument for what is no codec."""
    if codec is not None and not isinstance(codec, Codec):
        raise InvalidArgument(f"codec is a {type(codec).__name__}; give a Codec(...)")
    return codec


def writer_of(codec: Codec | None) -> Writer:
    """What makes payloads of values."""
    return codec.writer if codec is not None else PLAIN


def packed_gateway(inner: Gateway, codec: Codec | None) -> Gateway:
    """The client's port."""
    if codec is None:
        return inner
    from perdure.sdk.packing.gateway import PackingGateway

    return PackingGateway(inner, codec)


def packed_worker(worker: Worker, codec: Codec | None) -> Worker | PackingWorker:
    """Who runs code."""
    if codec is None:
        return worker
    from perdure.sdk.packing.worker import PackingWorker

    return PackingWorker(worker, codec)


def packed_receiver(receiver: Receiver, codec: Codec | None) -> Receiver:
    """What becomes of a message of a topic."""
    if codec is None:
        return receiver
    from perdure.sdk.packing.receiver import PackingReceiver

    return PackingReceiver(receiver, codec)
