"""A process that serves an agent over HTTP until it is killed: `python -m tests.agents.web_lives MODEL STORE PORT`."""

from __future__ import annotations

import asyncio
import sys

from openai import AsyncOpenAI

from perdure.agents.web import application
from perdure.remote.http.listener import HttpListener
from tests.agents.hosting import hosted


async def main(model: str, store: str, port: int) -> None:
    async with AsyncOpenAI(base_url=model, api_key="any", max_retries=0) as provider:
        app, agents = hosted(provider, store)
        async with app, HttpListener(application(agents), port=port) as listener:
            print(listener.port, flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
