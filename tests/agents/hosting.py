"""Agents on a real port, in a thread of their own, with the fake model behind them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from perdure import App, Retry
from perdure.agents import Approval, DurableAgent, LiveModel, StepOptions, WorkflowDurability
from perdure.agents.web import application
from perdure.remote.http.listener import HttpListener

PATIENCE_SECONDS = 30.0
SOON = StepOptions(retry=Retry(max_attempts=4, initial_interval=0.01))


class Forecast(BaseModel):
    """A typed answer."""

    city: str
    degrees: int


def hosted(provider: AsyncOpenAI, store: str, **options: Any) -> tuple[App, list[DurableAgent[Any, Any]]]:
    """A clerk who is live and has tools, one of which people have to approve; and a forecaster with a typed answer."""

    def model() -> Model:
        return OpenAIChatModel("fake", provider=OpenAIProvider(openai_client=provider))

    clerk = Agent(
        LiveModel(model()), name="clerk", capabilities=[WorkflowDurability(model=SOON, tool=SOON)],
        instructions="Be kind.",
    )  # fmt: skip
    done: list[str] = []

    @clerk.tool_plain
    async def look(place: str) -> str:
        done.append(place)
        return f"{place}, look {done.count(place)}"

    @clerk.tool_plain(requires_approval=True)
    async def refund(order: int) -> str:
        return f"order {order} is refunded"

    forecaster = Agent(model(), name="forecaster", output_type=Forecast, deps_type=str)
    agents: list[DurableAgent[Any, Any]] = [
        DurableAgent(clerk, approvals=Approval()),
        DurableAgent(forecaster, durability=WorkflowDurability(model=SOON)),
    ]
    return App("desk", store=store, agents=agents, **options), agents


class Site:
    """What a test holds: the address, and a way to run a coroutine beside it."""

    def __init__(self, app: App, port: int, loop: asyncio.AbstractEventLoop) -> None:
        self.app = app
        self.url = f"http://127.0.0.1:{port}"
        self._loop = loop

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_SECONDS)


@contextmanager
def served(model_url: str, store: str, **options: Any) -> Iterator[Site]:
    """The app with its engine, and its agents over HTTP, until the block ends."""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    sites: list[Site] = []
    ready = threading.Event()

    async def serve() -> None:
        async with AsyncOpenAI(base_url=model_url, api_key="any", max_retries=0) as provider:
            app, agents = hosted(provider, store)
            async with app, HttpListener(application(agents, **options), port=0) as listener:
                sites.append(Site(app, listener.port, loop))
                ready.set()
                await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert ready.wait(PATIENCE_SECONDS)
        yield sites[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_SECONDS)
        loop.close()
