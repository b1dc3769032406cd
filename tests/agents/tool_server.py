"""An MCP server as a process of its own: `PORT FOLDER`. Each call of a tool is a line in `calls` there.

While the folder has a file `hold`, a call enters itself and is not answered.
"""

import asyncio
import sys
from pathlib import Path

from mcp.server import MCPServer

PORT, FOLDER = int(sys.argv[1]), Path(sys.argv[2])
server = MCPServer("shop", log_level="ERROR")


@server.tool()
async def stock(sku: str) -> int:
    """How many are in stock."""
    with (FOLDER / "calls").open("a") as file:
        print(f"stock {sku}", file=file)
    while (FOLDER / "hold").exists():
        await asyncio.sleep(0.01)
    return len(sku)


@server.tool()
async def refuse(sku: str) -> int:
    """Always refuses."""
    with (FOLDER / "calls").open("a") as file:
        print(f"refuse {sku}", file=file)
    raise ValueError(sku)


if __name__ == "__main__":
    server.run(transport="streamable-http", host="127.0.0.1", port=PORT)
