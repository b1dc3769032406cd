"""The routes of Dapr's building blocks: each block brings its own, and errors become answers here for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from perdure.remote.http.faults import Fault, fault_of, record
from perdure.remote.http.hub import Hub

Answering = Callable[[Request, str, Hub], Awaitable[Response]]
"""Answers a request that is for an app. Raises Refused and what else has a rule."""


class BlockRoute(NamedTuple):
    """One path of a block. `code` is what its errors are called unless they have names of their own."""

    methods: tuple[str, ...]
    path: str
    answer: Answering
    code: str


def routes_of(rows: tuple[BlockRoute, ...], hub: Hub, app_key: str, refuse: Callable[[Fault], Response]) -> list[Route]:
    """The rows as routes. `app_key` is where the scope of a request has its app; `refuse` writes a fault."""
    return [Route(row.path, _endpoint(row, hub, app_key, refuse), methods=list(row.methods)) for row in rows]


def _endpoint(
    row: BlockRoute, hub: Hub, app_key: str, refuse: Callable[[Fault], Response]
) -> Callable[[Request], Awaitable[Response]]:
    async def answered(request: Request) -> Response:
        try:
            return await row.answer(request, request.scope[app_key], hub)
        except ClientDisconnect:
            return Response(status_code=400)  # because nobody is there to read it
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 because whatever it is, the client gets an answer
            fault = fault_of(error, row.code)
            record(error, fault, row.path)
            return refuse(fault)

    return answered
