"""HTTP on the ports of a whole server, whose code is with workers that are not there yet."""

from __future__ import annotations

from contextlib import asynccontextmanager

import httpx

from perdure.app import open_store
from perdure.remote.security import Token
from perdure.remote.server import Server
from perdure.remote.settings import Listener, ServerSettings
from tests.remote.http.desk import V1


@asynccontextmanager
async def opened(url, **tokens):
    listener = Listener(app_id="desk", grpc_port=0, http_port=0)
    server = Server(open_store(url), ServerSettings(listeners=(listener,), store=url, drain_seconds=0.0, **tokens))
    await server.open()
    try:
        port = server.listeners[0].http_port
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as browser:
            yield browser, server
    finally:
        await server.close()


def test_an_instance_waits_for_its_worker(run, url):
    async def scenario():
        async with opened(url) as (browser, server):
            health = (await browser.get("/v1.0/healthz/outbound")).status_code
            await browser.put("/v1.0/metadata/cliPID", content="7")
            started = await browser.post(f"{V1}/checkout/start?instanceID=a", json={"cents": 5})
            shown = (await browser.get(f"{V1}/a")).json()
            stop = await browser.post("/v1.0/shutdown")
            metadata = (await browser.get("/v1.0/metadata")).json()
            return health, started.status_code, shown, metadata, stop.status_code, server.asked_to_stop.is_set()

    health, started, shown, metadata, stop, is_asked = run(scenario)
    assert (health, started, stop, is_asked) == (204, 202, 204, True)
    assert shown["runtimeStatus"] in {"PENDING", "RUNNING"}
    assert shown["properties"]["dapr.workflow.input"] == '{"cents":5}'
    assert (metadata["id"], metadata["extended"], metadata["workflows"]) == (
        "desk",
        {"cliPID": "7"},
        {"connectedWorkers": 0},
    )


def test_an_entity_is_none_of_the_instances(run, url):
    async def scenario():
        async with opened(url) as (browser, server):
            entities = (await server.hosted.operations("desk")).entities
            await entities.signal("@counter@a", "add", "")
            assert await entities.get("@counter@a") is not None
            path = f"{V1}/%40counter%40a"
            calls = [await browser.post(f"{path}/{what}") for what in ("terminate", "pause", "raiseEvent/x", "purge")]
            return [(answer.status_code, "is an entity" in answer.text) for answer in (await browser.get(path), *calls)]

    assert run(scenario) == [(404, True)] * 5


def test_another_app_is_reached_with_a_token_for_all_and_no_other_way(run, url):
    own, all = {"dapr-api-token": "own"}, {"authorization": "Bearer every"}

    async def scenario():
        async with opened(url, api_token=Token("own"), all_apps_token=Token("every")) as (browser, _):

            async def start(headers, query=""):
                return (await browser.post(f"{V1}/checkout/start?{query}", headers=headers)).status_code

            statuses = [
                await start({}),
                await start({"dapr-api-token": "ow"}),
                await start(own),
                await start(own, "appID=desk"),
                await start(own, "appID=other"),
                await start({**own, "dapr-app-id": "other"}),
                await start(all),
                await start(all, "appID=other&instanceID=o"),
                await start({**all, "dapr-app-id": "third"}, "appID=other"),
            ]
            there = await browser.get(f"{V1}/o?appID=other", headers=all)
            here = await browser.get(f"{V1}/o", headers=all)
            told = (await browser.get("/v1.0/metadata", headers={**all, "dapr-app-id": "other"})).json()["id"]
            return statuses, there.status_code, here.status_code, told

    statuses, there, here, told = run(scenario)
    assert statuses == [401, 401, 202, 202, 403, 403, 202, 202, 400]
    assert (there, here, told) == (200, 404, "other")
