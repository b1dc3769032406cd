"""A server with a defect, to see that the fuzzer of the gRPC port finds it: its events have names of ASCII alone."""

from __future__ import annotations

import asyncio
import sys

from perdure.engine.operations import Operations
from tests.fuzz.grpc_server import serve

_command = Operations.command


async def command(self, id, execution, event, key):
    getattr(event, "name", "").encode("ascii")
    return await _command(self, id, execution, event, key)


if __name__ == "__main__":
    Operations.command = command
    asyncio.run(serve(sys.argv[1], sys.argv[2:]))
