"""The calls of Dapr's secret stores."""

from __future__ import annotations

from perdure.errors import InvalidArgument
from perdure.remote.hosted import Hosted
from perdure.remote.rpc.caller import Caller
from perdure.remote.rpc.calls import Calls
from perdure.remote.wire import secrets as wire


def secret_calls(hosted: Hosted) -> Calls:
    """GetSecret and GetBulkSecret."""
    desk = hosted.secrets

    async def one(data: bytes, caller: Caller) -> bytes:
        asked = wire.read_one(data)
        secret = desk.get(caller.app, asked.store, asked.key)
        if secret is None:
            raise InvalidArgument(f"secret store {asked.store!r} has no secret {asked.key!r}")
        return wire.write_one(secret)

    async def every(data: bytes, caller: Caller) -> bytes:
        return wire.write_all(desk.all(caller.app, wire.read_all(data).store))

    return Calls({"GetSecret": one, "GetBulkSecret": every})
