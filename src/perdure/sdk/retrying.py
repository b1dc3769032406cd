"""A group of failed or stalled instances made to run again: one first, the others once that one has come through."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from perdure.errors import BlobsUnavailable, HistoryCorrupt, InstanceError, InstanceExists, NotDecodable, OutcomeError
from perdure.history.alike import FailureGroup, Retried, rerun_id

if TYPE_CHECKING:
    from perdure.sdk.client import Client

RETRIED_AT_ONCE = 32
"""How many of a group are begun at once after the canary."""
LOOK_SECONDS = 0.1
"""Between looks whether a stalled canary has come through."""


async def retry(client: Client, group: FailureGroup, canary_seconds: float) -> Retried:
    """Rerun the failed, or resume the stalled, of a group, the oldest first and alone.

    The others follow once it has come through within `canary_seconds`. A rerun that an earlier call began, and that is
    not finished, is the canary of this one; who has been rerun is not rerun again.
    """
    begin, watch = (_resume, _is_through) if group.is_stalled else (_rerun, _outcome)
    if group.going:
        canary, rest, begun = group.going[0], group.ids, 0
    elif group.ids:
        canary, rest, begun = await begin(client, group.ids[0]), group.ids[1:], 1
    else:
        return Retried(canary=group.example, count=0)
    hitch = await watch(client, canary, canary_seconds)
    if hitch is not None:
        return Retried(canary=canary, count=begun, hitch=hitch)
    refused = await _each(client, rest, begin)
    return Retried(canary=canary, count=begun + len(rest) - len(refused), refused=refused)


async def _each(client: Client, ids: list[str], begin: Callable[[Client, str], Awaitable[str]]) -> list[str]:
    """Begin them all; those that refuse."""
    gate = asyncio.Semaphore(RETRIED_AT_ONCE)

    async def one(id: str) -> bool:
        async with gate:
            try:
                await begin(client, id)
            except InstanceExists:
                return True  # because somebody else has rerun it meanwhile
            except (InstanceError, HistoryCorrupt):
                return False
            return True

    began = await asyncio.gather(*map(one, ids))
    return [id for id, has_begun in zip(ids, began, strict=True) if not has_begun]


async def _rerun(client: Client, id: str) -> str:
    return (await client.get(id).rerun(id=rerun_id(id))).id


async def _resume(client: Client, id: str) -> str:
    await client.get(id).resume("retried with its group")
    return id


async def _outcome(client: Client, id: str, seconds: float) -> str | None:
    try:
        await client.get(id).result(timeout=seconds)
    except TimeoutError:
        return f"{id} has not finished within {seconds:g} s; the same command goes on with it"
    except OutcomeError as error:
        return str(error)
    except (NotDecodable, BlobsUnavailable):
        return None  # because it has a result, and only who asks for that needs its key
    return None


async def _is_through(client: Client, id: str, seconds: float) -> str | None:
    """Whether a stalled run has taken the turn that it stood before."""
    ends = time.monotonic() + seconds
    while True:
        stalled = (await client.get(id).state()).stalled
        if stalled is None:
            return None
        if time.monotonic() > ends:
            return f"{id} still stands still ({stalled.reason}): {stalled.description}"
        await asyncio.sleep(LOOK_SECONDS)
