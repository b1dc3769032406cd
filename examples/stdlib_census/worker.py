"""The process that executes the census: `python worker.py`, with the store's address in $PERDURE_STORE."""

import asyncio
import signal

from pipeline import app


async def work() -> None:
    """Run what there is to run until somebody asks us to end."""
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    async with app:
        await asked.wait()


if __name__ == "__main__":
    asyncio.run(work())
