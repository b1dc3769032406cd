"""A program with workflows, and its engine served over HTTP on a real port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from perdure import App, set_status, wait_for_event
from perdure.blocks.resources import USUAL, Component, Resources
from perdure.blocks.state.stores import StateStores
from perdure.clock import SystemClock
from perdure.engine.load import Load
from perdure.remote.app_channel import AppChannel
from perdure.remote.attributes import Attributes
from perdure.remote.conversation import ConversationDesk
from perdure.remote.http import HttpListener, http_app
from perdure.remote.pubsub.desk import PubsubDesk
from perdure.remote.secrets import SecretDesk
from perdure.remote.security import Policy, Token
from perdure.remote.state import StateDesk
from perdure.remote.watching import ConfigurationDesk

V1 = "/v1.0/workflows/dapr"
SECRETS = {"prefix": "PERDURE_TEST_SECRET_"}
RESOURCES = Resources(
    components=(
        *USUAL.components,
        Component(name="vault", type="secretstores.local.env", version="v1", metadata=SECRETS),
        Component(name="echo", type="conversation.echo", version="v1"),
    )
)


class Desk:
    """The hub of an app that runs in this process."""

    def __init__(self, app: App, token: str | None, around: Callable[[Any], Any]) -> None:
        self.client = app.client
        self.asked = around(app.client.gateway)
        self.policy = Policy(app_id=app.id, api_token=Token(token) if token else None)
        self.pubsub = PubsubDesk(lambda app: Resources(), _nobody, SystemClock())
        self.held = Attributes({"cliPID": "7"})
        self.ready = True
        self.stops = 0
        self.state = StateDesk(StateStores("memory:"), lambda app: RESOURCES)
        self.secrets = SecretDesk(lambda app: RESOURCES)
        self.configuration = ConfigurationDesk(lambda app: RESOURCES, self.state.own, SystemClock().token)
        self.conversation = ConversationDesk(lambda app: RESOURCES)
        self.program: AppChannel | None = AppChannel("http://127.0.0.1:9")

    async def gateway(self, app: str) -> Any:
        return self.asked

    def components(self, block: str) -> list[str]:
        return [component.name for component in RESOURCES.block(block)]

    def channel(self, app: str) -> AppChannel | None:
        return self.program

    def attributes(self, app: str) -> Attributes:
        return self.held

    def is_ready(self) -> bool:
        return self.ready

    def metadata(self, app: str) -> Mapping[str, Any]:
        return {"runtimeVersion": "1.19.0", "actors": []}

    async def load(self, app: str) -> Load:
        return Load(app=app, unfinished=9, ready=2, offered=3, claimed=1, oldest_seconds=1.5, nodes=2, slots=20, busy=4)

    async def metrics(self, app: str, accept: str) -> tuple[bytes, str]:
        return b"# EOF\n", "text/plain; charset=utf-8"

    def request_shutdown(self) -> None:
        self.stops += 1


async def _nobody() -> Any:
    raise AssertionError("there is no component")


class Around:
    """A gateway in front of another one, from which tests make bad ones."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Held(Around):
    """Starts wait until they are let go, and tell that they have begun."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.begun = asyncio.Event()
        self.let_go = asyncio.Event()

    async def start(self, *args: Any) -> tuple[str, str]:
        self.begun.set()
        await self.let_go.wait()
        return await self._inner.start(*args)  # type: ignore[no-any-return]


def program(url: str) -> App:
    app = App("desk", store=url)

    @app.activity
    async def add(x: int, y: int) -> int:
        return x + y

    @app.workflow
    async def total(numbers: list[int]) -> int:
        return await add(*numbers)

    @app.workflow
    async def echo(value: Any = "nothing") -> Any:
        return value

    @app.workflow
    async def approval(who: str) -> list[Any]:
        set_status({"asked": who})
        return [who, await wait_for_event("approved")]

    @app.workflow
    async def parent() -> Any:
        return await approval.with_options(id="the-child")("child")

    @app.workflow
    async def broken() -> None:
        raise ValueError("no such luck")

    return app


@asynccontextmanager
async def served(
    url: str,
    *,
    token: str | None = None,
    around: Callable[[Any], Any] = lambda gateway: gateway,
    drain_seconds: float = 5.0,
) -> AsyncIterator[tuple[httpx.AsyncClient, Desk]]:
    """A client of a server, and the hub behind it."""
    async with program(url) as app:
        desk = Desk(app, token, around)
        listener = HttpListener(http_app(desk), port=0, drain_seconds=drain_seconds)
        async with (
            listener,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.port}", trust_env=False) as browser,
        ):
            yield browser, desk


async def until(look: Callable[[], Any]) -> Any:
    """What `look` gives, as soon as it gives something; the scenario's own bound ends it otherwise."""
    while not (found := await look()):
        await asyncio.sleep(0.005)
    return found
