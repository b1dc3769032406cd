"""The agents that are reached over HTTP, and how a request becomes a run of one: once, however often it comes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from starlette.requests import Request

from perdure import Status
from perdure.agents.hosted import DurableAgent
from perdure.agents.records import Task
from perdure.agents.running import AgentRun
from perdure.errors import InstanceExists, InstanceNotFound, InvalidArgument

BODY_BYTES_MAX = 4 * 1024 * 1024
"""Bytes of a request."""
KEY = "idempotency-key"
"""The header whose value makes requests one: the same key is the same run."""
SESSION = "x-session"
"""The header that names the conversation of a chat request."""
_KEY = re.compile(r"[\w.:@-]{1,120}")
FINISHED = frozenset((Status.COMPLETED, Status.FAILED, Status.CANCELED, Status.TERMINATED))


class Desk:
    """Agents by name."""

    def __init__(self, agents: Iterable[DurableAgent[Any, Any]]) -> None:
        given = list(agents)
        self._agents = {agent.name: agent for agent in given}
        if not given:
            raise InvalidArgument("there is no agent to reach; give the DurableAgents of the app")
        if len(self._agents) < len(given):
            raise InvalidArgument(f"two agents have one name, among {', '.join(self.names)}; each needs its own")

    @property
    def names(self) -> list[str]:
        return sorted(self._agents)

    def agent(self, name: str) -> DurableAgent[Any, Any]:
        """Raises InstanceNotFound if there is none of that name."""
        found = self._agents.get(name)
        if found is None:
            raise InstanceNotFound(f"there is no agent {name[:100]!r}; there are {', '.join(self.names)}")
        return found

    async def run(self, name: str, id: str) -> AgentRun[Any]:
        """A run of an agent. Raises InstanceNotFound, also for an instance that is no run of it."""
        agent = self.agent(name)
        run = agent.get(id)
        if (await run.handle.state()).name != agent.workflow.name:
            raise InstanceNotFound(f"instance {id!r} is no run of agent {name!r}", id)
        return run

    async def begin(self, agent: DurableAgent[Any, Any], task: Task, key: str | None) -> AgentRun[Any]:
        """A run of the task; with a key, the one that there is.

        Raises InvalidArgument, and InstanceExists if the key was used for another task.
        """
        if key is None:
            return await agent.begin(task)
        if _KEY.fullmatch(key) is None:
            raise InvalidArgument(f"the key {key[:140]!r} is not 1 to 120 letters, digits and ._:@-")
        run = await agent.begin(task, f"{agent.name}-{key}")
        state = await run.handle.state()
        # by name too, because "a" with the key "b-c" and "a-b" with the key "c" have one id
        if state.name != agent.workflow.name or not _is_same(state.input, task):
            raise InstanceExists(f"the key {key!r} was used for another request; give each request its own", run.id)
        return run


def _is_same(known: Any, task: Task) -> bool:
    """Whether a run, of which the input is known or gone, is that of the task."""
    return known is None or {**known, "in_turn": None} == {**msgspec.to_builtins(task), "in_turn": None}


async def body_of(request: Request) -> bytes:
    """The body of a request, which is JSON and bounded. Raises InvalidArgument."""
    # JSON by its type, because a form on a page elsewhere cannot send it
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise InvalidArgument("the content type is not application/json; send JSON")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES_MAX:
            raise InvalidArgument(f"the body has more than {BODY_BYTES_MAX:,} bytes; send less")
    return bytes(body)
