"""A program that listens on a port: it tells what it subscribes to, and keeps what it is sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from servers.ports import free_port

Answer = Callable[[str, Any], Response | dict[str, Any] | None]


class Listener:
    """Answers what `answer` says of a path and an event; nothing means success."""

    def __init__(self, subscriptions: list[dict[str, Any]] | None = None, answer: Answer = lambda path, event: None):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.subscriptions = subscriptions
        self.answer = answer
        self.got: list[tuple[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Listener]:
        routes = [Route("/dapr/subscribe", self._told), Route("/{path:path}", self._event, methods=["POST"])]
        server = uvicorn.Server(
            uvicorn.Config(Starlette(routes=routes), port=self.port, log_level="error", lifespan="off")
        )
        task = asyncio.create_task(server._serve())
        try:
            while not server.started:
                await asyncio.sleep(0.01)
            yield self
        finally:
            server.should_exit = True
            await task

    async def _told(self, request: Request) -> Response:
        if self.subscriptions is None:
            return Response(status_code=404)
        return JSONResponse(self.subscriptions)

    async def _event(self, request: Request) -> Response:
        event = json.loads(await request.body())
        self.got.append((request.url.path, event))
        self.headers.append(dict(request.headers))
        answer = self.answer(request.url.path, event)
        if answer is None:
            return Response(status_code=200)
        return answer if isinstance(answer, Response) else JSONResponse(answer)
