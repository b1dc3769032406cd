"""What clients call to run again what has ended: as it began, from one of its events, or from before its failure."""

from __future__ import annotations

from perdure.clock import ordered_id
from perdure.codec import NOTHING
from perdure.errors import InstanceNotFinished
from perdure.history.fork import Reissue
from perdure.history.work import StartOptions
from perdure.remote.hosted import Hosted
from perdure.remote.requests import AboutInstance, Rerun
from perdure.remote.rpc.caller import Caller
from perdure.remote.rpc.views import checked


class Repetition:
    """Handlers for clients."""

    def __init__(self, hosted: Hosted) -> None:
        self._hosted = hosted

    async def rerun(self, asked: Rerun, caller: Caller) -> str:
        """The id of the new instance.

        Dapr's programs have the action made again as it stands in history; ours ask for it afresh.
        """
        operations = await self._hosted.operations_for(caller.grant, None)
        if not self._hosted.is_native(caller.app):
            asked_for = Reissue(
                source=checked(asked.source),
                number=asked.number,
                instance=asked.instance,
                input=asked.input,
                replaces_input=asked.replaces_input,
                child=asked.child or None,
            )
            return await operations.reissue(asked_for)
        id, _ = await operations.rerun(
            checked(asked.source), asked.number, asked.instance or None, asked.input, asked.replaces_input
        )
        return id

    async def restart(self, asked: AboutInstance, caller: Caller) -> str:
        """A new run with the name, input, version and tags of an instance; its id."""
        operations = await self._hosted.operations_for(caller.grant, asked.app)
        state = await operations.state(checked(asked.instance), None)
        if not asked.with_new_id and not state.is_finished:
            raise InstanceNotFinished(
                f"instance {state.id!r} is {state.status}; only a finished one is restarted under its id", state.id
            )
        id = ordered_id(self._hosted.clock) if asked.with_new_id else state.id
        options = StartOptions(id=id, tags=state.tags, version=state.version)
        async with operations.audit.action("restart", state.id, new=id):
            started, _ = await operations.start(state.name, state.input or NOTHING, options)
        return started

    async def rewind(self, asked: AboutInstance, caller: Caller) -> None:
        """Take a failed instance back to before its failure. Raises InstanceNotFound, InstanceFinished."""
        operations = await self._hosted.operations_for(caller.grant, None)
        await operations.rewind(checked(asked.instance), asked.reason)
