"""The calls of Dapr's configuration."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from perdure.remote.hosted import Hosted
from perdure.remote.rpc.caller import Caller
from perdure.remote.rpc.calls import Calls
from perdure.remote.wire import configuration as wire


def configuration_calls(hosted: Hosted) -> Calls:
    """GetConfiguration, SubscribeConfiguration and UnsubscribeConfiguration, also by their older names."""
    desk = hosted.configuration

    async def get(data: bytes, caller: Caller) -> bytes:
        asked = wire.read_get(data)
        return wire.write_items(await desk.items(caller.app, asked.store, asked.keys))

    async def subscribe(data: bytes, caller: Caller) -> AsyncIterator[bytes]:
        """The changes from now on, until the caller leaves or unsubscribes."""
        asked = wire.read_subscribe(data)
        async with aclosing(desk.changes(caller.app, asked.store, asked.keys)) as changes:
            async for change in changes:
                yield wire.write_update(change.id, change.items)

    async def unsubscribe(data: bytes, caller: Caller) -> bytes:
        was_there = desk.end(caller.app, wire.read_unsubscribe(data).id)
        why_not = "" if was_there else "there is no subscription of this id; it has ended, or was another's"
        return wire.write_unsubscribed(why_not)

    unary = {"GetConfiguration": get, "UnsubscribeConfiguration": unsubscribe}
    streaming = {"SubscribeConfiguration": subscribe}
    return Calls(
        {name + version: handler for name, handler in unary.items() for version in ("", "Alpha1")},
        {name + version: handler for name, handler in streaming.items() for version in ("", "Alpha1")},
    )
