"""A node whose activity ends it: `python killer_node.py ADDRESS DIRECTORY`. It runs until it is ended.

Each end appends a line to `deaths` in the directory; a file `repaired` mends the code. The deadly call comes behind
calls that take all slots of the node, so that any node may claim it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from perdure import App

ADDRESS, DIRECTORY = sys.argv[1:] if __name__ == "__main__" else ("memory:", ".")
NAP_SECONDS = 0.3
app = App("killer", store=ADDRESS, slots=1, drain_seconds=0.0)


@app.activity
async def nap(number: int) -> int:
    await asyncio.sleep(NAP_SECONDS)
    return number


@app.activity
async def deadly() -> str:
    """End this process as a crash in native code does, unless the code was repaired."""
    if not (Path(DIRECTORY) / "repaired").exists():
        file = os.open(Path(DIRECTORY) / "deaths", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, b"deadly\n")
        os.fsync(file)
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@app.workflow
async def crowded() -> str:
    *_, last = await asyncio.gather(nap(1), nap(2), nap(3), deadly())
    return str(last)


async def main() -> None:
    async with app:
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
