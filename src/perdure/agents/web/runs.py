"""The endpoints of runs: begin one, look at it, follow its events, decide what it waits for, call it off."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from perdure import Status
from perdure.agents.following import offset_of
from perdure.agents.records import Task
from perdure.agents.running import AgentRun
from perdure.agents.web.desk import KEY, Desk, body_of
from perdure.agents.web.events import event, with_signs
from perdure.errors import InvalidArgument


class Begun(msgspec.Struct, forbid_unknown_fields=True):
    """The body that begins a run. `deps` is what the agent's dependencies are made from."""

    prompt: str
    session: str | None = None
    deps: Any = None


class Decided(msgspec.Struct, forbid_unknown_fields=True):
    """The body that decides a call: it is made, with other `arguments` if they are given, or not, for a `reason`."""

    call_id: str
    approved: bool
    by: str | None = None
    reason: str | None = None
    arguments: dict[str, Any] | None = None


class Reason(msgspec.Struct, forbid_unknown_fields=True):
    """The body that calls a run off."""

    reason: str = ""


async def begin(desk: Desk, request: Request) -> Response:
    agent = desk.agent(request.path_params["agent"])
    asked = _read(await body_of(request), Begun)
    agent.check_deps(asked.deps)
    task = Task(prompt=asked.prompt, session=asked.session, deps=asked.deps)
    run = await desk.begin(agent, task, request.headers.get(KEY))
    return JSONResponse({"id": run.id, "agent": agent.name}, 202)


async def look(desk: Desk, request: Request) -> Response:
    run = await _run(desk, request)
    state = await run.handle.state()
    told: dict[str, Any] = {"id": run.id, "agent": run.agent.name, "status": state.status.value}
    if state.status == Status.COMPLETED:
        answer = await run.answer()
        told |= {"agent": answer.agent, "output": answer.output, "usage": msgspec.to_builtins(answer.usage)}
    elif state.failure is not None:
        told["failure"] = str(state.failure)
    else:
        told["pending"] = msgspec.to_builtins(await run.pending())
    return Response(msgspec.json.encode(told), media_type="application/json")


async def events(desk: Desk, request: Request) -> Response:
    run = await _run(desk, request)
    after = request.headers.get("last-event-id") or request.query_params.get("after", "")
    offset_of(after)  # because an answer that has begun cannot refuse
    told = with_signs(_told(run, after))
    return StreamingResponse(told, media_type="text/event-stream", headers={"cache-control": "no-store"})


async def _told(run: AgentRun[Any], after: str) -> AsyncGenerator[bytes, None]:
    async with aclosing(run.stream(after)) as entries:
        async for told in entries:
            fields = msgspec.to_builtins(told.entry)
            yield event(msgspec.json.encode(fields).decode(), id=told.offset, name=fields["kind"])


async def decide(desk: Desk, request: Request) -> Response:
    run = await _run(desk, request)
    decided = _read(await body_of(request), Decided)
    if decided.approved:
        await run.approve(decided.call_id, by=decided.by, arguments=decided.arguments)
    else:
        await run.deny(decided.call_id, by=decided.by, reason=decided.reason)
    return Response(status_code=204)


async def cancel(desk: Desk, request: Request) -> Response:
    run = await _run(desk, request)
    await run.cancel(_read(await body_of(request), Reason).reason)
    return Response(status_code=204)


async def _run(desk: Desk, request: Request) -> AgentRun[Any]:
    return await desk.run(request.path_params["agent"], request.path_params["run"])


def _read(body: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidArgument(f"the body is not what this takes: {error}") from None
