"""A client on the published `dapr` package: one line of JSON `[type, id, method, argument]` in, one answer out."""

import asyncio
import json
import sys

from dapr.actor import ActorId, ActorProxy


async def main() -> None:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        kind, id, method, argument = json.loads(line)
        proxy = ActorProxy.create(kind, ActorId(id))
        try:
            data = json.dumps(argument).encode() if argument is not None else None
            answer = {"result": json.loads(await proxy.invoke_method(method, data) or b"null")}
        except Exception as error:  # noqa: BLE001 because what it is, is what a test wants to know
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


asyncio.run(main())
