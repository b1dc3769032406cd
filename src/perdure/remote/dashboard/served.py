"""The dashboard of a server, under /ui of its own HTTP port, for whoever has the token of its API."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from perdure.errors import InvalidArgument
from perdure.remote.dashboard.application import application
from perdure.remote.dashboard.targets import Place, Target, Targets
from perdure.remote.http.hub import Hub
from perdure.remote.settings import ServerSettings
from perdure.sdk.client import Client
from perdure.sdk.role import Role

PATH = "/ui"
"""Where the dashboard is on a server's HTTP port."""


class WithDashboard:
    """An application, and the dashboard of its hub beside it."""

    def __init__(self, app: ASGIApp, hub: Hub, settings: ServerSettings) -> None:
        self._app = app
        self._dashboard = _dashboard(hub, settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http" and path == PATH:
            await RedirectResponse(f"{PATH}/", 308)(scope, receive, send)
        elif scope["type"] == "http" and path.startswith(f"{PATH}/"):
            await self._dashboard({**scope, "root_path": scope.get("root_path", "") + PATH}, receive, send)
        else:
            await self._app(scope, receive, send)


def _dashboard(hub: Hub, settings: ServerSettings) -> Starlette:
    tokens = [(token, Role.ADMIN) for token in (settings.api_token, settings.all_apps_token) if token is not None]
    target = Target(hub.policy.app_id, _OnHub(hub).opened)
    return application(Targets([target]), hosts=(settings.host, *settings.ui_hosts), tokens=tokens)


class _OnHub:
    """The apps that the port of a server is for."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def opened(self) -> Place:
        return self

    async def apps(self) -> Sequence[str]:
        policy = self._hub.policy
        return (policy.app_id, *sorted(policy.neighbours))

    async def client(self, app: str) -> Client:
        if app not in await self.apps():
            raise InvalidArgument(f"this port does not serve app {app[:200]!r}")
        return Client(await self._hub.gateway(app))

    async def close(self) -> None:
        """The server closes what is behind it."""
