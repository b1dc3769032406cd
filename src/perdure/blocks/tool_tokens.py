"""Tokens for servers of tools: got with a client's credentials, kept until they run out."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from perdure.blocks.resources import OAuth
from perdure.errors import ToolServerUnavailable

if TYPE_CHECKING:
    import httpx2

EARLY_SECONDS = 30.0
"""How long before its end a token is renewed."""
LIFE_SECONDS = 300.0
"""How long a token is kept whose life the server does not tell."""
UNAUTHORIZED = 401


def token_auth(oauth: OAuth, now: Callable[[], float] = time.monotonic) -> httpx2.Auth:
    """What puts a token into each request. Raises ToolServerUnavailable, from the request, if there is none to get."""
    import httpx2  # because it comes with the library mcp, an extra

    class ClientToken(httpx2.Auth):
        requires_response_body = True

        def __init__(self) -> None:
            self._token, self._ends = "", 0.0

        def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
            if now() >= self._ends:
                yield from self._renew()
            request.headers["Authorization"] = f"Bearer {self._token}"
            response = yield request
            if response.status_code == UNAUTHORIZED:
                yield from self._renew()
                request.headers["Authorization"] = f"Bearer {self._token}"
                yield request

        def _renew(self) -> Generator[httpx2.Request, httpx2.Response, None]:
            answer = yield httpx2.Request("POST", oauth.issuer, data=_form(oauth))
            try:
                found: dict[str, Any] = answer.json()
                self._token = str(found["access_token"])
                self._ends = now() + float(found.get("expires_in") or LIFE_SECONDS) - EARLY_SECONDS
            except (ValueError, KeyError, TypeError):
                raise ToolServerUnavailable(
                    f"{oauth.issuer} gave no token (HTTP {answer.status_code}); check the client's id and secret"
                ) from None

    return ClientToken()


def _form(oauth: OAuth) -> dict[str, str]:
    form = {
        "grant_type": "client_credentials",
        "client_id": oauth.client_id,
        "client_secret": oauth.client_secret,
        "audience": oauth.audience,
        "scope": " ".join(oauth.scopes) or None,
    }
    return {name: value for name, value in form.items() if value is not None}
