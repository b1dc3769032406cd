"""The calls by which KEDA scales an app. They tell numbers, and answer whoever reaches the port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from perdure.remote.hosted import Hosted
from perdure.remote.loads import LOOK_SECONDS
from perdure.remote.requests import AskedLoad
from perdure.remote.rpc.caller import Caller
from perdure.remote.wire import scaler

SERVICE = "externalscaler.ExternalScaler"
OPEN_CALLS = frozenset(f"/{SERVICE}/{name}" for name in ("IsActive", "StreamIsActive", "GetMetricSpec", "GetMetrics"))
"""Answered without a token, because KEDA has none to show."""


def scaling_calls(hosted: Hosted) -> dict[str, Callable[[bytes, Caller], Awaitable[bytes]]]:
    """Those with one answer, by full name."""

    async def is_active(data: bytes, caller: Caller) -> bytes:
        return scaler.write_active(is_active=await _is_active(hosted, scaler.read_reference(data), caller))

    async def spec(data: bytes, caller: Caller) -> bytes:
        asked = scaler.read_reference(data)
        caller.grant.app_for(asked.app)
        return scaler.write_spec(asked)

    async def metrics(data: bytes, caller: Caller) -> bytes:
        asked = scaler.read_metrics(data)
        load = await hosted.loads.of(caller.grant.app_for(asked.app))
        return scaler.write_metrics(asked, load.measure(asked.target))

    calls = {"IsActive": is_active, "GetMetricSpec": spec, "GetMetrics": metrics}
    return {f"/{SERVICE}/{name}": call for name, call in calls.items()}


def scaling_streams(hosted: Hosted) -> dict[str, Callable[[bytes, Caller], AsyncIterator[bytes]]]:
    """The one that goes on: an answer at once, and another when it changes."""

    async def stream(data: bytes, caller: Caller) -> AsyncIterator[bytes]:
        asked = scaler.read_reference(data)
        told: bool | None = None
        while True:
            is_active = await _is_active(hosted, asked, caller)
            if is_active != told:
                told = is_active
                yield scaler.write_active(is_active=is_active)
            await asyncio.sleep(LOOK_SECONDS)

    return {f"/{SERVICE}/StreamIsActive": stream}


async def _is_active(hosted: Hosted, asked: AskedLoad, caller: Caller) -> bool:
    return (await hosted.loads.of(caller.grant.app_for(asked.app))).is_active
