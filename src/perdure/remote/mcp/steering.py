"""The tools that change instances: raise an event, rerun, retry a group, suspend, resume, cancel, terminate."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from pydantic import Field

from perdure.errors import InstanceFinished
from perdure.remote.mcp import answers
from perdure.remote.mcp.looking import FAILURES_MAX, Id
from perdure.sdk.client import Client
from perdure.sdk.handle import Handle
from perdure.stores.contract import FINISHED

CANARY_SECONDS_MAX = 300.0
"""How long `retry_failures` may wait for the first of a group, because a caller does not wait for ever either."""

Reason = Annotated[str, Field(max_length=1_000, description="Why; it is kept in the history and the audit log.")]


class Steering:
    """Steers through a client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def raise_event(
        self,
        id: Id,
        event: Annotated[str, Field(min_length=1, description="The event's name, as the workflow waits for it.")],
        data: Annotated[Any, Field(description="What it brings: any JSON value.")] = None,
    ) -> answers.Done:
        """Send an external event to an instance, such as an approval that it waits for. Two calls send two events."""
        handle = await self._unfinished(id)
        await handle.raise_event(event, data)
        return await self._done(handle, f"event {event!r} sent")

    async def rerun_instance(
        self,
        id: Id,
        from_event: Annotated[
            int | None,
            Field(
                ge=1, description="The number of the action (get_history) from which it runs anew; else its failure."
            ),
        ] = None,
        new_id: Annotated[
            str | None, Field(description="Of the new instance; with it, a repeated call starts no second one.")
        ] = None,
        input: Annotated[Any, Field(description="Takes the place of the workflow's input; null leaves it.")] = None,
    ) -> answers.Done:
        """Start a new instance that keeps what a finished one has completed, and runs on from before its failure."""
        handle = await self._client.get(id).rerun(
            from_event, id=new_id, input=msgspec.UNSET if input is None else input
        )
        return await self._done(handle, f"started as a rerun of {id}")

    async def retry_failures(
        self,
        fingerprint: Annotated[str, Field(min_length=1, description="Of a group of list_failures.")],
        canary_seconds: Annotated[
            float, Field(ge=0, le=CANARY_SECONDS_MAX, description="How long the first may take.")
        ] = 60.0,
    ) -> answers.Group:
        """Rerun, or resume, a whole group of failures: the oldest alone, the others once it has come through."""
        return answers.group(
            await self._client.retry_failures(fingerprint, canary_seconds=canary_seconds, limit=FAILURES_MAX)
        )

    async def suspend_instance(self, id: Id, reason: Reason = "") -> answers.Done:
        """Hold the code of an instance until resume_instance; events and results are kept."""
        handle = await self._unfinished(id)
        await handle.suspend(reason)
        return await self._done(handle, "asked to suspend")

    async def resume_instance(
        self,
        id: Id,
        reason: Reason = "",
        now: Annotated[bool, Field(description="Also try activities again that failed and wait.")] = False,
    ) -> answers.Done:
        """Let a suspended instance go on, and try a stalled one again."""
        handle = await self._unfinished(id)
        await handle.resume(reason, now=now)
        return await self._done(handle, "asked to resume")

    async def cancel_instance(self, id: Id, reason: Reason = "") -> answers.Done:
        """Cancel an instance, so that its compensations run. It cannot be taken back."""
        handle = await self._unfinished(id)
        await handle.cancel(reason)
        return await self._done(handle, "asked to cancel")

    async def terminate_instance(
        self, id: Id, recursive: Annotated[bool, Field(description="Children too.")] = True
    ) -> answers.Done:
        """End an instance at once; no code of it runs any more, not even compensations. It cannot be taken back."""
        handle = await self._unfinished(id)
        await handle.terminate(recursive=recursive)
        return await self._done(handle, "asked to terminate")

    async def _unfinished(self, id: str) -> Handle[Any]:
        handle = self._client.get(id)
        state = await handle.state()
        if state.status in FINISHED:
            raise InstanceFinished(f"instance {id!r} is {state.status.value} and takes no more commands", id)
        return handle

    async def _done(self, handle: Handle[Any], done: str) -> answers.Done:
        state = await handle.state()
        is_kept = state.status not in FINISHED and await self._client.holder() is None
        return answers.Done(
            id=handle.id,
            done=done,
            status=state.status.value,
            note="no process runs this app: it is kept until a worker does" if is_kept else None,
        )
