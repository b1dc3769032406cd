"""A batch of operations of an actor with a codec in it: its code sees plain payloads, the engine packed ones."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from perdure.codec import Payload
from perdure.errors import PayloadTooLarge
from perdure.history.events import TurnAnswered
from perdure.history.work import Batch, BatchResult, Operated, Stall
from perdure.sdk.failures import to_failure
from perdure.sdk.packing.packer import Packer, stall_of
from perdure.sdk.worker import LiveBatch

Done = Callable[[BatchResult | Stall], None]
Operate = Callable[[Batch, Done], LiveBatch | None]


class PackingBatch:
    """Nothing of it is offloaded: a state is looked at, and a sweep does not search what an actor keeps."""

    __slots__ = ("_batch", "_done", "_inner", "_is_over", "_key", "_operate", "_packer", "_spawn")

    def __init__(
        self,
        batch: Batch,
        done: Done,
        packer: Packer,
        operate: Operate,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._batch = batch
        self._done = done
        self._packer = packer
        self._operate = operate
        self._spawn = spawn
        self._inner: LiveBatch | None = None
        self._is_over = False
        self._key: str | None = None

    def begin(self) -> None:
        """Unpack the batch, and have it run."""
        self._spawn(self._begin())

    async def _begin(self) -> None:
        batch, codec = self._batch, self._packer.codec
        try:
            self._key = codec.key_for(None, _key_of(batch))
            plain = msgspec.structs.replace(
                batch,
                operations=[await self._packer.unpack_slowly(event) for event in batch.operations],
                state=await codec.unpacked(batch.state) if batch.state is not None else None,
            )
        except Exception as error:  # noqa: BLE001 because keys may come from anywhere and raise anything
            self._end(stall_of(error))
            return
        if not self._is_over:
            self._inner = self._operate(plain, self._operated)

    def _operated(self, result: BatchResult | Stall) -> None:
        if isinstance(result, Stall):
            self._end(result)
        elif not self._is_over:
            self._spawn(self._pack(result))

    async def _pack(self, result: BatchResult) -> None:
        try:
            packed = BatchResult(
                results=[await self._packed_end(operated) for operated in result.results],
                actions=[await self._packer.pack_slowly(action, self._key) for action in result.actions],
                state=await self._packed(result.state),
                failure=self._packer.pack_failure(result.failure, self._key) if result.failure is not None else None,
            )
        except PayloadTooLarge as error:
            packed = BatchResult(failure=to_failure(error))
        except Exception as error:  # noqa: BLE001 as above
            self._end(stall_of(error))
            return
        self._end(packed)

    async def _packed_end(self, operated: Operated) -> Operated:
        failure = operated.failure
        return Operated(
            result=await self._packed(operated.result),
            failure=self._packer.pack_failure(failure, self._key) if failure is not None else None,
        )

    async def _packed(self, payload: Payload | None) -> Payload | None:
        return None if payload is None else await self._packer.codec.packed(payload, self._key, offloads=False)

    def _end(self, result: BatchResult | Stall) -> None:
        if not self._is_over:
            self._is_over = True
            self._done(result)

    # -- what the engine asks -------------------------------------------------------------------------------------

    def retract(self) -> None:
        """Take it back; `done` is never called."""
        self._is_over = True
        if self._inner is not None:
            self._inner.retract()

    def expects(self, token: str) -> bool:
        """It is answered in this process alone."""
        return False

    def answer(self, answered: TurnAnswered) -> None:
        """Likewise."""


def _key_of(batch: Batch) -> str | None:
    """The key of the state; for a new actor that of what it is asked first."""
    payloads = (batch.state, *(event.input for event in batch.operations))
    return next((payload.key for payload in payloads if payload is not None), None)
