"""The calls about state of Dapr's own API."""

from __future__ import annotations

from perdure.remote.hosted import Hosted
from perdure.remote.rpc.caller import Caller
from perdure.remote.rpc.calls import Calls, Unary
from perdure.remote.wire import state


def state_calls(hosted: Hosted) -> Calls:
    """All but QueryStateAlpha1, which is UNIMPLEMENTED: values are opaque here, so nothing can be asked about them."""
    desk = hosted.state

    async def get(data: bytes, caller: Caller) -> bytes:
        store, key = state.read_get(data)
        return state.write_got(await desk.get(caller.app, store, key))

    async def get_bulk(data: bytes, caller: Caller) -> bytes:
        store, keys = state.read_get_bulk(data)
        return state.write_got_bulk(keys, await desk.get_many(caller.app, store, keys))

    async def save(data: bytes, caller: Caller) -> bytes:
        await desk.save(caller.app, *state.read_save(data))
        return b""

    async def delete(data: bytes, caller: Caller) -> bytes:
        await desk.save(caller.app, *state.read_delete(data))
        return b""

    async def delete_bulk(data: bytes, caller: Caller) -> bytes:
        await desk.save(caller.app, *state.read_delete_bulk(data))
        return b""

    async def transact(data: bytes, caller: Caller) -> bytes:
        await desk.transact(caller.app, *state.read_transaction(data))
        return b""

    unary: dict[str, Unary] = {
        "GetState": get,
        "GetBulkState": get_bulk,
        "SaveState": save,
        "DeleteState": delete,
        "DeleteBulkState": delete_bulk,
        "ExecuteStateTransaction": transact,
    }
    return Calls(unary)
