"""The dashboard on a server's own HTTP port."""

from __future__ import annotations

import re

import httpx

from perdure import Client
from perdure.app import open_store
from perdure.remote.security import Token
from perdure.remote.server import Server
from perdure.remote.settings import Listener, ServerSettings


def _settings(url, **changes):
    listener = Listener(app_id="shop", grpc_port=0, http_port=0)
    return ServerSettings(listeners=(listener,), store=url, drain_seconds=0.1, **changes)


def test_a_server_has_its_dashboard_beside_its_api(url, run):
    async def scenario():
        server = Server(open_store(url), _settings(url))
        await server.open()
        try:
            port = server.listeners[0].http_port
            async with Client(f"grpc://127.0.0.1:{server.listeners[0].grpc_port}") as client:
                await client.workflow("checkout").with_options(id="order/1").start(1)
            async with httpx.AsyncClient(base_url=f"http://localhost:{port}", follow_redirects=True) as browser:
                listed = await browser.get("/ui")
                assert listed.status_code == 200
                assert str(listed.url).endswith("/ui/at/shop/instances")
                assert "order/1" in listed.text
                assert 'href="/ui/static/dashboard.css"' in listed.text
                assert (await browser.get("/ui/static/dashboard.css")).status_code == 200
                page = await browser.get("/ui/at/shop/instance", params={"app": "shop", "id": "order/1"})
                assert "pending" in page.text
                token = (await browser.get("/ui/at/shop/instance/cancel", params={"id": "order/1"})).text
                token = re.search(r'name="form_token" value="([0-9a-f]+)"', token)[1]
                done = await browser.post(
                    "/ui/at/shop/instance/cancel", params={"id": "order/1"}, data={"form_token": token}
                )
                assert done.status_code == 200
                assert (await browser.get("/v1.0/healthz")).status_code < 300
                rebound = await browser.get("/ui/", headers={"host": "evil.example.org"})
                assert rebound.status_code == 421
        finally:
            await server.close()

    run(scenario)


def test_a_server_with_a_token_asks_browsers_for_it(url, run):
    async def scenario():
        server = Server(open_store(url), _settings(url, api_token=Token("s3cret")))
        await server.open()
        try:
            base = f"http://localhost:{server.listeners[0].http_port}"
            async with httpx.AsyncClient(base_url=base, follow_redirects=True) as browser:
                assert "Log in" in (await browser.get("/ui/at/shop/instances")).text
                opened = await browser.post("/ui/login", data={"token": "s3cret"})
                assert str(opened.url).endswith("/ui/at/shop/instances")
        finally:
            await server.close()

    run(scenario)


def test_a_server_without_a_dashboard_has_none(url, run):
    async def scenario():
        server = Server(open_store(url), _settings(url, ui=False))
        await server.open()
        try:
            async with httpx.AsyncClient(base_url=f"http://localhost:{server.listeners[0].http_port}") as browser:
                assert (await browser.get("/ui/")).status_code == 404
        finally:
            await server.close()

    run(scenario)
