"""The receiver of a subscription with a codec in it: it sees plain messages, the engine packed ones."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from perdure.codec import Codec, Payload
from perdure.history.events import MessagePublished
from perdure.history.handling import Handled
from perdure.sdk.packing.packer import Packer
from perdure.sdk.subscriptions import Receiver


class PackingReceiver:
    """A receiver, and a codec between it and the engine. What follows from a message goes under the message's key."""

    def __init__(self, receiver: Receiver, codec: Codec) -> None:
        self.in_hand_max = receiver.in_hand_max
        self.is_remote = receiver.is_remote
        self._receiver = receiver
        self._codec = codec
        self._packer = Packer(codec)

    def decide(self, message: MessagePublished) -> Handled | None:
        """What is large, or lies elsewhere, is not known at once."""
        if not self._packer.is_quick([message]):
            return None
        handled = self._receiver.decide(self._packer.unpack(message))
        if handled is None or not all(map(self._codec.is_quick, _payloads(handled))):
            return None
        key = self._key(message)
        return _exchanged(handled, {id(part): self._codec.pack(part, key)[0] for part in _payloads(handled)})

    async def handle(self, message: MessagePublished, attempt: int) -> Handled:
        handled = await self._receiver.handle(await self._packer.unpack_slowly(message), attempt)
        key = self._key(message)
        messages = [await self._packer.pack_slowly(one, key) for one in handled.messages]
        packed = {id(part): await self._codec.packed(part, key) for part in _payloads(handled)}
        return replace(_exchanged(handled, packed), messages=messages)

    def _key(self, message: MessagePublished) -> str | None:
        return self._codec.key_for(None, message.data.key if message.data is not None else None)

    def __repr__(self) -> str:
        return f"<PackingReceiver {self._codec!r} to {self._receiver!r}>"


def _payloads(handled: Handled) -> Iterator[Payload]:
    """Those of what it starts and raises."""
    yield from (start.input for start in handled.starts if start.input is not None)
    yield from (one.data for one in handled.raises if one.data is not None)


def _exchanged(handled: Handled, packed: dict[int, Payload]) -> Handled:
    starts = [replace(start, input=packed.get(id(start.input))) for start in handled.starts]
    raises = [replace(one, data=packed.get(id(one.data))) for one in handled.raises]
    return replace(handled, starts=starts, raises=raises)
