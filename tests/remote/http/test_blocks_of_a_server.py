"""The same routes on a server, which is the hub behind its ports, with the program that it tells of changes."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from perdure.blocks.configuration import SPACE, KeptConfiguration
from tests.remote.pubsub.listener import Listener
from tests.remote.pubsub.program import PATIENCE_SECONDS, components, serving


@pytest.mark.long
def test_a_server_answers_and_tells_the_program_of_changes() -> None:
    resources = components(
        ("settings", "configuration.perdure", {}),
        ("vault", "secretstores.local.env", {"prefix": "PERDURE_NO_SUCH_"}),
        ("echo", "conversation.echo", {}),
    )

    async def scenario() -> None:
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            Listener().listening() as program,
            serving("shop", resources=resources, app_url=program.url) as server,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.listeners[0].http_port}") as browser,
        ):
            assert (await browser.get("/v1.0/secrets/vault/bulk")).json() == {}
            asked = {"inputs": [{"content": "hello"}]}
            answer = await browser.post("/v1.0-alpha1/conversation/echo/converse", json=asked)
            assert answer.json() == {"outputs": [{"result": "hello"}]}
            id = (await browser.get("/v1.0/configuration/settings/subscribe")).json()["id"]
            kept = KeptConfiguration(await server.hosted.state.own(SPACE), "settings")
            await kept.change({"colour": "red"})
            while not program.got:
                await asyncio.sleep(0.01)
            item = {"value": "red", "version": "1", "metadata": {}}
            assert program.got == [("/configuration/settings/colour", {"id": id, "items": {"colour": item}})]
            assert (await browser.get("/v1.0/configuration/settings")).json() == {"colour": item}
            assert (await browser.get(f"/v1.0/configuration/settings/{id}/unsubscribe")).json() == {"ok": True}

    asyncio.run(scenario())
