"""An outlet with a codec in it: an activity yields plain payloads, the engine gets packed ones."""

from __future__ import annotations

from perdure.codec import Codec, Payload
from perdure.history.work import Outlet


class PackingOutlet:
    """Packs items with `key`. Never offloaded, because a sweep of blobs does not search the items of streams."""

    def __init__(self, inner: Outlet, codec: Codec, key: str | None) -> None:
        self._inner = inner
        self._codec = codec
        self._key = key

    @property
    def offset(self) -> int:
        return self._inner.offset

    @property
    def last(self) -> Payload | None:
        packed = self._inner.last
        return self._codec.unpack(packed) if packed is not None else None

    async def begin(self) -> None:
        await self._inner.begin()

    async def put(self, value: Payload) -> None:
        await self._inner.put(await self._codec.packed(value, self._key, offloads=False))

    async def flush(self) -> int:
        return await self._inner.flush()

    def close(self) -> None:
        self._inner.close()

    def __repr__(self) -> str:
        return f"<PackingOutlet to {self._inner!r}>"
