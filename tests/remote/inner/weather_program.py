"""A server of tools that tests start: `python weather_program.py TRANSPORT [PORT]`; what ran is in the file $LEDGER."""

import asyncio
import os
import sys
import time
from pathlib import Path

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("weather", log_level="CRITICAL")


def note(what: str) -> None:
    with Path(os.environ["LEDGER"]).open("a") as ledger:
        ledger.write(f"{what} {os.getpid()}\n")


@server.tool()
def forecast(city: str) -> str:
    """The weather of a city."""
    note(f"forecast:{city}")
    return f"{city}: sunny"


@server.tool()
def refuse(why: str) -> str:
    """Always fails."""
    raise ValueError(why)


@server.tool()
def die() -> str:
    """Ends the program."""
    note("die")
    os._exit(1)


@server.tool()
async def wait(file: str) -> str:
    """Waits for a file."""
    note(f"wait:{Path(file).name}")
    while not Path(file).exists():
        await asyncio.sleep(0.02)
    return "there"


@server.tool()
def sleep(seconds: float, context: Context) -> str:
    """Takes its time, the first time."""
    is_first = "sleep" not in Path(os.environ["LEDGER"]).read_text()
    note(f"sleep:{(context.request_context.meta or {}).get('perdure/idempotency-key')}")
    if is_first:
        time.sleep(seconds)
    return "slept"


if __name__ == "__main__":
    Path(os.environ["LEDGER"]).touch()
    print("begun", file=sys.stderr, flush=True)
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        server.run(sys.argv[1], host="127.0.0.1", port=int(sys.argv[2]))  # type: ignore[call-overload]
