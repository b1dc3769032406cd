"""The calls about actors, and the stream on which a program hosts them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec

from perdure.errors import InstanceNotFound
from perdure.remote.actors.actors import AppActors
from perdure.remote.actors.stream_host import StreamHost, listen, opening_of, write_opened
from perdure.remote.hosted import Hosted
from perdure.remote.requests import Metadata
from perdure.remote.rpc.caller import Caller
from perdure.remote.rpc.calls import Calls
from perdure.remote.wire import actor_calls as wire


class ActorCalls:
    """Handlers."""

    def __init__(self, hosted: Hosted) -> None:
        self._hosted = hosted

    async def invoke(self, data: bytes, caller: Caller) -> bytes:
        (type, id, method), body, token = wire.read_invoke(data)
        return wire.write_invoked(await self._of(type, caller).call(type, id, method, body, token))

    async def get_state(self, data: bytes, caller: Caller) -> bytes:
        type, id, key = wire.read_get_state(data)
        return wire.write_state(await self._of(type, caller).value(type, id, key))

    async def transact(self, data: bytes, caller: Caller) -> bytes:
        (type, id, _), changes = wire.read_transaction(data)
        await self._of(type, caller).transact(type, id, changes)
        return b""

    async def register_reminder(self, data: bytes, caller: Caller) -> bytes:
        (type, id, _), asked = wire.read_register(data)
        await self._of(type, caller).remind(type, id, asked)
        return b""

    async def unregister_reminder(self, data: bytes, caller: Caller) -> bytes:
        type, id, name = wire.read_unregister(data)
        await self._of(type, caller).forget(type, id, name)
        return b""

    async def get_reminder(self, data: bytes, caller: Caller) -> bytes:
        """Raises InstanceNotFound if there is none of the name."""
        asked = wire.read_get_reminder(data)
        found = await self._of(asked.type, caller).reminder(*asked)
        if found is None:
            raise InstanceNotFound(f"the actor {asked.type} {asked.id} has no reminder {asked.name!r}", asked.id)
        return wire.write_reminder(asked, found)

    async def list_reminders(self, data: bytes, caller: Caller) -> bytes:
        type, id = wire.read_of_type("ListActorRemindersRequest", data)
        return wire.write_reminders(type, await self._of(type, caller).reminders(type, id))

    async def unregister_reminders(self, data: bytes, caller: Caller) -> bytes:
        type, id = wire.read_of_type("UnregisterActorRemindersByTypeRequest", data)
        actors = self._of(type, caller)
        for each in {found for found, _, _ in await actors.reminders(type, id)}:
            await actors.forget(type, each, None)
        return b""

    async def register_timer(self, data: bytes, caller: Caller) -> bytes:
        (type, id, _), asked = wire.read_register_timer(data)
        self._of(type, caller).time(type, id, asked)
        return b""

    async def unregister_timer(self, data: bytes, caller: Caller) -> bytes:
        type, id, name = wire.read_unregister_timer(data)
        self._of(type, caller).untime(type, id, name)
        return b""

    async def host(self, asked: AsyncIterator[bytes], caller: Caller) -> AsyncIterator[bytes]:
        """A program hosts actors for as long as the stream lasts."""
        opened = await opening_of(asked)
        actors, host = self._hosted.actors.of(caller.app), StreamHost(opened.types)
        listening = asyncio.get_running_loop().create_task(listen(host, asked))
        actors.host_came(host)
        try:
            yield write_opened()
            async for message in host.messages():
                yield message
            await listening  # which says why, if the program has sent what nobody can read
        finally:
            actors.host_went(host)
            listening.cancel()

    def _of(self, type: str, caller: Caller) -> AppActors:
        return self._hosted.actors.hosting(type, caller.app)


def actor_calls(hosted: Hosted) -> Calls:
    """Those of Dapr's own API."""
    calls = ActorCalls(hosted)

    def describe(told: Metadata) -> Metadata:
        counts = hosted.actors.counts(told.app)
        return told if counts is None else msgspec.structs.replace(told, actors={**(told.actors or {}), **counts})

    hosted.describers.append(describe)
    return Calls(
        unary={
            "InvokeActor": calls.invoke,
            "GetActorState": calls.get_state,
            "ExecuteActorStateTransaction": calls.transact,
            "RegisterActorReminder": calls.register_reminder,
            "UnregisterActorReminder": calls.unregister_reminder,
            "GetActorReminder": calls.get_reminder,
            "ListActorReminders": calls.list_reminders,
            "UnregisterActorRemindersByType": calls.unregister_reminders,
            "RegisterActorTimer": calls.register_timer,
            "UnregisterActorTimer": calls.unregister_timer,
        },
        conversing={"SubscribeActorEventsAlpha1": calls.host},
    )
