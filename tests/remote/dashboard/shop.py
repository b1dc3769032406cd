"""An app with something to look at, and its dashboard asked as a browser would, in this process."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from html import unescape
from typing import Any

import httpx

from perdure import App, Retry, dashboard, set_status, wait_for_event

BASE = "http://localhost"


def shop(url: str) -> App:
    """Workflows that wait, fail, sleep, and call."""
    app = App("shop", store=url)

    @app.activity
    async def pack(item: str) -> str:
        return f"parcel of {item}"

    @app.activity
    async def refuse(what: str) -> str:
        raise ValueError(what)

    @app.workflow
    async def notify(who: str) -> str:
        return f"told {who}"

    @app.workflow
    async def approval(item: str) -> Any:
        set_status({"step": "packing"})
        parcel = await pack(item)
        set_status({"step": "approval"})
        approved = await wait_for_event("approved")
        await notify(item)
        return [parcel, approved]

    @app.workflow
    async def refund(what: str) -> str:
        return await refuse(what)

    tries = 0

    @app.activity(retry=Retry(max_attempts=3, initial_interval=3_600.0))
    async def reach() -> int:
        nonlocal tries
        tries += 1
        if tries < 2:
            raise ConnectionError(f"try {tries}")
        return tries

    @app.workflow
    async def reaching() -> int:
        return await reach()

    @app.workflow
    async def counting(to: int) -> None:
        for number in range(to):
            await pack(str(number))

    return app


class Browser:
    """Keeps cookies and reads form tokens out of pages, as a browser does."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.token = ""

    async def get(self, path: str, **query: Any) -> httpx.Response:
        answer = await self.client.get(path, params=query or None, headers=query.pop("headers", None))
        found = re.search(r'name="form_token" value="([0-9a-f]+)"', answer.text)
        if found:
            self.token = found[1]
        return answer

    async def post(
        self, path: str, form: Mapping[str, str], query: Mapping[str, str] | None = None, **headers: str
    ) -> httpx.Response:
        said = {"origin": BASE, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return await self.client.post(path, params=query, data={"form_token": self.token, **form}, headers=said)


@asynccontextmanager
async def browsing(home: Any, **options: Any) -> AsyncIterator[Browser]:
    """The dashboard of an app, client or targets."""
    transport = httpx.ASGITransport(dashboard(home, **options))
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
        yield Browser(client)


def text_of(page: str) -> str:
    """What a page says, without its tags."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())
