"""Secrets, configuration and conversations over HTTP: the routes of Dapr, their answers and codes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from perdure.blocks.configuration import SPACE, KeptConfiguration
from perdure.blocks.resources import Component, Resources
from perdure.remote.app_channel import AppChannel
from perdure.remote.secrets import SecretDesk
from tests.remote.http import desk as desks
from tests.remote.http.desk import Desk, served
from tests.remote.pubsub.listener import Listener

CONVERSE = "/v1.0-alpha2/conversation/echo/converse"
ITEMS = "/v1.0/configuration/configstore"


def played(run: Any, url: str, story: Any) -> None:
    async def scenario() -> None:
        async with served(url) as (browser, desk):
            await story(browser, desk)

    run(scenario)


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["errorCode"]


async def change(desk: Desk, **values: str | None) -> None:
    await KeptConfiguration(await desk.state.own(SPACE), "configstore").change(values)


# -- secrets ----------------------------------------------------------------------------------------------------------


def test_secrets(run: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_TEST_SECRET_A", "1")
    monkeypatch.setenv("PERDURE_TEST_SECRET_B", "2")

    async def story(browser: Any, desk: Desk) -> None:
        found = await browser.get("/v1.0/secrets/vault/A")
        assert (found.status_code, found.json()) == (200, {"A": "1"})
        assert (await browser.get("/v1.0/secrets/vault/bulk")).json() == {"A": {"A": "1"}, "B": {"B": "2"}}
        assert (await browser.get("/v1.0/secrets/vault/C")).status_code == 204
        for path in ("none/A", "none/bulk"):
            assert code(await browser.get(f"/v1.0/secrets/{path}")) == (401, "ERR_SECRET_STORE_NOT_FOUND")

    played(run, url, story)


def test_a_server_without_secret_stores_says_so(run: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "RESOURCES", Resources())

    async def story(browser: Any, desk: Desk) -> None:
        assert code(await browser.get("/v1.0/secrets/vault/A")) == (500, "ERR_SECRET_STORES_NOT_CONFIGURED")
        assert code(await browser.get(ITEMS)) == (500, "ERR_CONFIGURATION_STORE_NOT_CONFIGURED")

    played(run, url, story)


def test_a_file_of_secrets_that_cannot_be_read_is_no_missing_store(run: Any, url: str) -> None:
    async def story(browser: Any, desk: Desk) -> None:
        metadata = {"secretsFile": "/nowhere/at/all.json"}
        vault = Component(name="vault", type="secretstores.local.file", version="v1", metadata=metadata)
        desk.secrets = SecretDesk(lambda app: Resources(components=(vault,)))
        assert code(await browser.get("/v1.0/secrets/vault/A")) == (400, "ERR_MALFORMED_REQUEST")

    played(run, url, story)


# -- configuration ----------------------------------------------------------------------------------------------------


def test_items(run: Any, url: str) -> None:
    async def story(browser: Any, desk: Desk) -> None:
        await change(desk, a="1", b="2", c="3")
        one = {"value": "1", "version": "1", "metadata": {}}
        assert (await browser.get(ITEMS, params={"key": "a"})).json() == {"a": one}
        assert sorted((await browser.get(ITEMS, params=[("key", "a"), ("key", "c")])).json()) == ["a", "c"]
        for path in (ITEMS, ITEMS.replace("v1.0", "v1.0-alpha1")):
            assert sorted((await browser.get(path)).json()) == ["a", "b", "c"]
        for path in ("none", "none/subscribe"):
            answer = await browser.get(f"/v1.0/configuration/{path}")
            assert code(answer) == (400, "ERR_CONFIGURATION_STORE_NOT_FOUND")
        assert code(await browser.get(ITEMS, params=[("key", "k")] * 1_001)) == (400, "ERR_MALFORMED_REQUEST")

    played(run, url, story)


@pytest.mark.long
def test_changes_are_posted_to_the_program_until_it_unsubscribes(run: Any, url: str) -> None:
    async def story(browser: Any, desk: Desk) -> None:
        await change(desk, a="1", b="1")
        async with Listener().listening() as program:
            desk.program = AppChannel(program.url)
            id = (await browser.get(f"{ITEMS}/subscribe", params={"key": "a"})).json()["id"]
            await change(desk, a="2", b="2")
            while not program.got:
                await asyncio.sleep(0.01)
            item = {"value": "2", "version": "2", "metadata": {}}
            assert program.got == [("/configuration/configstore/a", {"id": id, "items": {"a": item}})]
            unsubscribe = f"{ITEMS}/{id}/unsubscribe"
            assert (await browser.get(unsubscribe)).json() == {"ok": True}
            while (await browser.get(unsubscribe)).json()["ok"]:  # it ends a moment later
                await asyncio.sleep(0.01)
            await change(desk, a="3")
            second = (await browser.get(f"{ITEMS}/subscribe", params={"key": "b"})).json()["id"]
            await change(desk, b="3")
            while len(program.got) < 2:
                await asyncio.sleep(0.01)
            assert [event["id"] for _, event in program.got] == [id, second]
            await desk.program.close()
        desk.configuration.close()

    played(run, url, story)


def test_who_listens_on_no_port_cannot_subscribe(run: Any, url: str) -> None:
    async def story(browser: Any, desk: Desk) -> None:
        desk.program = None
        assert code(await browser.get(f"{ITEMS}/subscribe")) == (500, "ERR_APP_CHANNEL_NIL")
        assert (await browser.get(f"{ITEMS}/none/unsubscribe")).json()["ok"] is False

    played(run, url, story)


# -- conversations ----------------------------------------------------------------------------------------------------


def test_a_conversation_of_the_second_version(run: Any, url: str) -> None:
    asked = {
        "inputs": [{"messages": [{"ofUser": {"content": [{"text": "hello"}]}}]}],
        "contextId": "c1",
        "parameters": {"max_tokens": {"@type": "type.googleapis.com/google.protobuf.Int64Value", "value": "100"}},
        "temperature": 0.5,
        "somethingNew": True,
    }

    async def story(browser: Any, desk: Desk) -> None:
        found = await browser.post(CONVERSE, json=asked)
        assert found.status_code == 200, found.text
        assert found.headers["content-type"] == "application/json"
        (output,) = found.json()["outputs"]
        (choice,) = output["choices"]
        assert (choice["message"]["content"], choice["finishReason"]) == ("hello", "stop")
        assert found.json()["contextId"] == "c1"

    played(run, url, story)


def test_a_conversation_of_the_first_version(run: Any, url: str) -> None:
    async def story(browser: Any, desk: Desk) -> None:
        asked = {"inputs": [{"content": "hello", "role": "user"}], "contextID": "c1"}
        found = await browser.post("/v1.0-alpha1/conversation/echo/converse", json=asked)
        assert found.json() == {"outputs": [{"result": "hello"}], "contextID": "c1"}

    played(run, url, story)


def test_conversations_that_cannot_be(run: Any, url: str) -> None:
    said = {"inputs": [{"messages": [{"ofUser": {"content": [{"text": "hello"}]}}]}]}

    async def story(browser: Any, desk: Desk) -> None:
        nobody = await browser.post(CONVERSE.replace("echo", "none"), json=said)
        assert code(nobody) == (400, "ERR_CONVERSATION_NOT_FOUND")
        for nothing in ({}, {"inputs": []}, {"inputs": [{}]}):
            assert code(await browser.post(CONVERSE, json=nothing)) == (400, "ERR_CONVERSATION_MISSING_INPUTS")
        for wrong in (b"{", b"7", b'{"inputs": 7}', b"\xff", json.dumps({**said, "scrubPii": True}).encode()):
            assert code(await browser.post(CONVERSE, content=wrong)) == (400, "ERR_MALFORMED_REQUEST")
        wrong_kind = {**said, "parameters": {"a": {"@type": "type.googleapis.com/nobody.Knows", "value": 1}}}
        assert code(await browser.post(CONVERSE, json=wrong_kind)) == (400, "ERR_MALFORMED_REQUEST")

    played(run, url, story)
