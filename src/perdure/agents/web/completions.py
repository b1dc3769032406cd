"""The endpoints of OpenAI's chat protocol, where a model is an agent and an answer is that of a run."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from perdure.agents.running import AgentRun
from perdure.agents.web import chat
from perdure.agents.web.desk import FINISHED, KEY, SESSION, Desk, body_of
from perdure.agents.web.events import event, with_signs
from perdure.errors import PerdureError
from perdure.transcript import Ended

ANSWER_SECONDS = 600.0
"""How long a request waits for the whole answer; the run goes on, and the same key asks for it again."""


async def models(desk: Desk, request: Request) -> Response:
    return JSONResponse(chat.models(desk.names))


async def completions(desk: Desk, request: Request) -> Response:
    asked = chat.chat_request(await body_of(request))
    agent = desk.agent(asked.model)
    task = chat.task_of(asked, request.headers.get(SESSION))
    run = await desk.begin(agent, task, request.headers.get(KEY))
    created, headers = int(time.time()), {"x-request-id": run.id}
    if not asked.stream:
        answer = await run.answer(ANSWER_SECONDS)
        return JSONResponse(chat.completion(run.id, asked.model, created, answer), headers=headers)
    is_over = (await run.handle.state()).status in FINISHED
    with_usage = asked.stream_options is not None and asked.stream_options.include_usage
    chunks = chat.Chunks(run.id, asked.model, created, include_usage=with_usage, is_over=is_over)
    headers["cache-control"] = "no-store"
    return StreamingResponse(with_signs(_streamed(run, chunks)), media_type="text/event-stream", headers=headers)


async def _streamed(run: AgentRun[object], chunks: chat.Chunks) -> AsyncGenerator[bytes, None]:
    yield _event(chunks.begin())
    try:
        async with aclosing(run.stream()) as entries:
            async for told in entries:
                for chunk in chunks.read(told.entry):
                    yield _event(chunk)
                if isinstance(told.entry, Ended) and told.entry.status != "completed":
                    why = told.entry.message or f"the run was {told.entry.status}"
                    yield _event(chat.failure(why, "server_error"))
                    return
    except chat.Withdrawn as withdrawn:
        yield _event(chat.failure(str(withdrawn), "server_error", "withdrawn"))
        return
    except PerdureError as error:
        yield _event(chat.failure(str(error), "server_error", error.code))
        return
    yield event("[DONE]")


def _event(body: dict[str, object]) -> bytes:
    return event(msgspec.json.encode(body).decode())
