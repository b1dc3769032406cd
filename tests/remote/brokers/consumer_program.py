"""Reads a topic until it is killed, and writes each id that it handles at the end of a file. ADDRESS FILE"""

from __future__ import annotations

import asyncio
import os
import sys

from perdure.blocks.pubsub import Message, SubscribeOptions, Verdict
from perdure.remote.brokers import open_broker


async def main(address: str, path: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def take(message: Message) -> Verdict:
        await asyncio.sleep(0.005)
        os.write(file, f"{message.id}\n".encode())
        return Verdict.SUCCESS

    broker = open_broker(address)
    await broker.subscribe("orders", "g", take, SubscribeOptions(attempts_max=100))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
