"""What an app or client holds open to a server: the channel, the client's port, and the worker if there is code."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from perdure.blocks.state.stores import Shelf
from perdure.clock import SystemClock
from perdure.errors import NotSupportedByServer, ServerUnavailable
from perdure.remote.foreign.gateway import ForeignGateway
from perdure.remote.foreign.lacks import check_definitions
from perdure.remote.foreign.worker import ForeignWorker, flavour_at
from perdure.remote.native.calls import HELLO
from perdure.remote.native.channel import PUBLIC_AGENT, Channel
from perdure.remote.native.gateway import RemoteGateway
from perdure.remote.native.handshake import check_scheme
from perdure.remote.native.receivers import Group, Receivers
from perdure.remote.native.stream import pause
from perdure.remote.native.target import Target, target_of
from perdure.remote.native.values import ServedValues
from perdure.remote.native.worker import Names, NativeWorker
from perdure.remote.requests import Flavour
from perdure.remote.wire.codec import Codec, codec_of
from perdure.sdk.definitions import Definitions
from perdure.sdk.gateway import Gateway
from perdure.sdk.packing.worker import PackingWorker
from perdure.sdk.scheduling import BUILT_IN
from perdure.sdk.worker import Worker

OPEN_SECONDS = 10.0
"""How long a server may take to answer for the first time; a later break has other bounds."""
PUBLIC_HELLO = "/TaskHubSidecarService/Hello"
DAPR_METADATA = "/dapr.proto.runtime.v1.Dapr/GetMetadata"


class Connection:
    """A server, from `connect` to `close`. `codec` is that of the public protocol at one that is no Perdure."""

    def __init__(self, channel: Channel, app: str, codec: Codec | None = None) -> None:
        self.app = app
        self.gateway: Gateway = RemoteGateway(channel) if codec is None else ForeignGateway(channel, codec, app)
        self._channel = channel
        self._codec = codec
        self._worker: NativeWorker | ForeignWorker | None = None
        self._receivers: Receivers | None = None

    @property
    def is_ours(self) -> bool:
        """Whether the server is a Perdure."""
        return self._codec is None

    async def work(self, worker: Worker | PackingWorker, definitions: Definitions, settings: Mapping[str, Any]) -> None:
        """Serve the code of an app from now on. Raises NotSupportedByServer if it needs what the server lacks."""
        _check_transactions(definitions, self._channel.target.address)
        id, slots, drain = SystemClock().token(), settings["slots"], settings["drain_seconds"]
        if self._codec is None:
            workflows, activities = (*definitions.workflows, *BUILT_IN), definitions.activities
            names = Names(frozenset(workflows), frozenset(activities), frozenset(definitions.actors))
            self._worker = NativeWorker(
                self._channel,
                worker,
                names,
                id=id,
                slots=slots,
                drain_seconds=drain,
                runs_max=settings["activations_max"],
            )
        else:
            check_definitions(definitions, self._channel.target.address, self._codec.flavour)
            if isinstance(worker, PackingWorker):
                raise NotSupportedByServer(
                    f"the server at {self._channel.target.address} is no Perdure and takes payloads that are text "
                    "alone; leave the app's codec out, or use `perdure serve`"
                )
            self._worker = ForeignWorker(
                self._channel, self._codec, self.app, worker, id=id, slots=slots, drain_seconds=drain
            )
        await self._worker.open(OPEN_SECONDS)

    async def receive(self, groups: Sequence[Group], settings: Mapping[str, Any]) -> None:
        """Have groups join, and give them their messages from now on."""
        for group in groups:  # all of them first, because what all groups have passed is forgotten
            await self.gateway.join(group.topic, group.name, group.options)
        self._receivers = Receivers(self._channel, groups, settings["drain_seconds"])
        await self._receivers.open(OPEN_SECONDS)

    async def shelf(self, name: str) -> Shelf:
        """The state store of that name at the server."""
        return Shelf(ServedValues(self._channel, name), "", None)

    async def close(self) -> None:
        """Drain what the worker does, and hang up."""
        if self._receivers is not None:
            await self._receivers.close()
        if self._worker is not None:
            await self._worker.close()
        await self._channel.close()

    @property
    def is_owner(self) -> bool:
        """Whether a worker is connected here."""
        return self._worker is not None and self._worker.is_connected

    def __repr__(self) -> str:
        return f"<Connection to {self._worker or self._channel!r}>"


async def connect(url: str, app: str | None, environment: Mapping[str, str] = os.environ) -> Connection:
    """A server that answers. Raises ServerUnavailable, NotAuthenticated, NotPermitted and InvalidArgument."""
    target = target_of(url, environment)
    channel = Channel(target, app)
    try:
        welcome = await _patiently(target, lambda left: channel.ask(HELLO, version("perdure"), timeout=left))
        return Connection(channel, welcome.app)
    except NotSupportedByServer:
        await channel.close()
        return await _connect_publicly(Channel(target, app, PUBLIC_AGENT), app)
    except BaseException:
        await channel.close()
        raise


async def _connect_publicly(channel: Channel, app: str | None) -> Connection:
    try:
        return Connection(channel, app or "default", codec_of(await _flavour(channel)))
    except BaseException:
        await channel.close()
        raise


async def _flavour(channel: Channel) -> Flavour:
    """What a server speaks that is no Perdure. Raises NotSupportedByServer if that is no workflow protocol at all."""
    await _patiently(channel.target, lambda left: channel.send(PUBLIC_HELLO, b"", left))
    try:
        await channel.send(DAPR_METADATA, b"", OPEN_SECONDS)
    except NotSupportedByServer:
        return flavour_at(knows_dapr=False)
    return flavour_at(knows_dapr=True)


async def _patiently(target: Target, ask: Callable[[float], Awaitable[Any]]) -> Any:
    """An answer of a server that may be about to begin."""
    now = asyncio.get_running_loop().time
    ends, tries = now() + OPEN_SECONDS, 0
    while True:
        left = ends - now()
        try:
            return await ask(max(left, 0.1))
        except TimeoutError as error:
            raise ServerUnavailable(f"{error}; is it a server, and the right port?") from None
        except ServerUnavailable as error:
            if tries == 0:
                await check_scheme(target, error)
            if left <= 0:
                raise
            await asyncio.sleep(pause(tries, 0.5))
            tries += 1


def _check_transactions(definitions: Definitions, address: str) -> None:
    for activity in definitions.activities.values():
        if activity.is_transaction:
            raise NotSupportedByServer(
                f"{activity.name!r} is an @app.transaction, which needs the store's database at hand, and {address} is "
                "a server; make it an activity that is safe to repeat, or give the app a store"
            )
