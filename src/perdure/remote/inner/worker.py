"""The workers of a server for its own code: one for each app that has such code."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from perdure.blocks.tool_servers import ToolServer
from perdure.remote.hosted import Hosted
from perdure.remote.inner.channel import InnerChannel
from perdure.remote.inner.tools import ToolDefinitions
from perdure.remote.native.worker import Names, NativeWorker
from perdure.remote.rpc.caller import NATIVE_AGENT, Caller
from perdure.remote.rpc.table import Table
from perdure.remote.security import Grant
from perdure.sdk.worker import Worker

SLOTS = 100
"""Calls of tools that one app's server has under way at once."""


class InnerWorkers:
    """From `open` to `close`. They keep the names of their code from the workers of the apps."""

    def __init__(self, hosted: Hosted, apps: Iterable[str]) -> None:
        declared = {app: hosted.resources_of(app).mcp_servers for app in apps}
        self._servers = {app: [ToolServer(one) for one in found] for app, found in declared.items() if found}
        self._definitions = {app: ToolDefinitions(servers) for app, servers in self._servers.items()}
        self._open: list[tuple[NativeWorker, Worker]] = []
        for app, definitions in self._definitions.items():
            hosted.reserved[app] = definitions.prefixes

    async def open(self, table: Table, drain_seconds: float) -> None:
        """Serve; what is under way when it closes may go on for so long."""
        for app, definitions in self._definitions.items():
            caller = Caller(Grant(app, None), agent=f"{NATIVE_AGENT}inner", is_inner=True)
            executor = Worker(app, definitions)
            executor.start()
            worker = NativeWorker(
                InnerChannel(table, caller),
                executor,
                Names(frozenset(), frozenset()),
                id=f"inner.{app}",
                slots=SLOTS,
                drain_seconds=drain_seconds,
            )
            self._open.append((worker, executor))
            await worker.open(0)  # because a server that stands by takes it when it has the work

    async def close(self) -> None:
        """Let calls end within the drain, and end the sessions with the servers."""
        opened, self._open = self._open, []
        await asyncio.gather(*(worker.close() for worker, _ in opened))
        for _, executor in opened:
            executor.stop()
        await asyncio.gather(*(server.close() for servers in self._servers.values() for server in servers))

    def __repr__(self) -> str:
        return f"<InnerWorkers of {', '.join(self._definitions) or 'no app'}>"
