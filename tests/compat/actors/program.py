"""A program on the published `dapr` package that hosts actors: `http PORT` with FastAPI, `stream` over gRPC.

It notes in the folder `notes` what really happened, by a file for each actor with a line for each thing.
"""

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path

from dapr.actor import Actor, ActorId, ActorInterface, ActorProxy, Remindable, actormethod
from dapr.actor.runtime.config import ActorReentrancyConfig, ActorRuntimeConfig, ActorTypeConfig
from dapr.actor.runtime.runtime import ActorRuntime


def note(actor: Actor, what: str) -> None:
    Path("notes").mkdir(exist_ok=True)
    with Path("notes", actor.id.id).open("a") as file:
        print(what, file=file)


class CounterInterface(ActorInterface):
    @actormethod(name="Add")
    async def add(self, amount: int) -> int: ...

    @actormethod(name="Get")
    async def get(self) -> int: ...

    @actormethod(name="AddThenFail")
    async def add_then_fail(self, amount: int) -> int: ...

    @actormethod(name="AddSlowly")
    async def add_slowly(self, amount: int) -> int: ...

    @actormethod(name="Forget")
    async def forget(self) -> bool: ...

    @actormethod(name="Borrow")
    async def borrow(self, seconds: int) -> int: ...

    @actormethod(name="Remind")
    async def remind(self, name: str) -> None: ...

    @actormethod(name="StopReminding")
    async def stop_reminding(self, name: str) -> None: ...

    @actormethod(name="Tick")
    async def tick(self, name: str) -> None: ...

    @actormethod(name="AskOther")
    async def ask_other(self, question: dict) -> int: ...


class Counter(Actor, CounterInterface, Remindable):
    async def _on_activate(self) -> None:
        note(self, "activated")

    async def _on_deactivate(self) -> None:
        note(self, "deactivated")

    async def add(self, amount: int) -> int:
        value = await self.get() + amount
        await self._state_manager.set_state("value", value)
        await self._state_manager.set_state("last", {"amount": amount, "text": "naïve ☃"})
        note(self, f"add {amount}")
        return value

    async def get(self) -> int:
        found, value = await self._state_manager.try_get_state("value")
        return value if found else 0

    async def add_then_fail(self, amount: int) -> int:
        await self.add(amount)
        raise ValueError("not today")

    async def add_slowly(self, amount: int) -> int:
        value = await self.add(amount)
        await self._state_manager.save_state()
        while Path("hold").exists():
            await asyncio.sleep(0.01)
        return value

    async def forget(self) -> bool:
        return await self._state_manager.try_remove_state("value")

    async def borrow(self, seconds: int) -> int:
        await self._state_manager.set_state_ttl("borrowed", 7, seconds)
        await self._state_manager.save_state()
        return await self._state_manager.get_state("borrowed")

    async def remind(self, name: str) -> None:
        await self.register_reminder(name, b"soon", timedelta(milliseconds=200), timedelta(milliseconds=200))

    async def stop_reminding(self, name: str) -> None:
        await self.unregister_reminder(name)

    async def receive_reminder(self, name, state, due_time, period, ttl=None) -> None:
        note(self, f"reminded {name} {state.decode()} {due_time.total_seconds():g} {period.total_seconds():g}")
        await self.add(1)

    async def tick(self, name: str) -> None:
        await self.register_timer(name, self.ticked, {"by": 2}, timedelta(milliseconds=50), timedelta(milliseconds=50))

    async def ticked(self, data: dict) -> None:
        note(self, f"ticked {data['by']}")
        await self.add(data["by"])

    async def ask_other(self, question: dict) -> int:
        other = ActorProxy.create(question["type"], ActorId(question["id"]), CounterInterface)
        back = question.get("back")
        if back is not None:
            return await other.AskOther(back)
        return await other.Add(1)


class Reentrant(Counter):
    pass


class Brief(Counter):
    pass


CONFIG = ActorRuntimeConfig(
    actor_type_configs=[
        ActorTypeConfig("Counter"),
        ActorTypeConfig("Reentrant", reentrancy=ActorReentrancyConfig(enabled=True, maxStackDepth=4)),
        ActorTypeConfig("Brief", actor_idle_timeout=timedelta(seconds=1)),
    ]
)
TYPES = (Counter, Reentrant, Brief)


async def over_http(port: int) -> None:
    import uvicorn
    from dapr.ext.fastapi import DaprActor
    from fastapi import FastAPI

    app = FastAPI()
    actors = DaprActor(app)
    ActorRuntime.set_actor_config(CONFIG)
    for kind in TYPES:
        await actors.register_actor(kind)
    await uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning")).serve()


async def over_a_stream() -> None:
    from dapr.actor.runtime.grpc_host import ActorGrpcHost

    os.environ.pop("APP_PORT", None)
    ActorRuntime.set_actor_config(CONFIG)
    host = ActorGrpcHost()
    for kind in TYPES:
        await host.register_actor(kind)
    await host.run_forever()


if __name__ == "__main__":
    asyncio.run(over_http(int(sys.argv[2])) if sys.argv[1] == "http" else over_a_stream())
