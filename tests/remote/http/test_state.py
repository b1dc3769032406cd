"""State over HTTP: the routes of Dapr, their statuses and headers."""

from __future__ import annotations

import pytest

from tests.remote.http.desk import served

STATE = "/v1.0/state/statestore"


def played(run, url, story):
    async def scenario():
        async with served(url) as (browser, _):
            await story(browser)

    run(scenario)


def code(answer):
    return answer.status_code, answer.json()["errorCode"]


def test_a_value(run, url):
    async def story(browser):
        assert (await browser.get(f"{STATE}/a")).status_code == 204
        saved = await browser.post(STATE, json=[{"key": "a", "value": {"n": 1}}, {"key": "b/c", "value": "text"}])
        assert (saved.status_code, saved.content) == (204, b"")
        found = await browser.get(f"{STATE}/a", params={"consistency": "strong"})
        assert (found.status_code, found.json()) == (200, {"n": 1})
        assert found.headers["content-type"] == "application/json"
        assert found.headers["etag"]
        assert (await browser.get(f"{STATE}/b%2Fc")).json() == "text"
        assert (await browser.delete(f"{STATE}/a")).status_code == 204
        assert (await browser.get(f"{STATE}/a")).status_code == 204

    played(run, url, story)


def test_etags(run, url):
    async def story(browser):
        first = {"key": "a", "value": 1, "options": {"concurrency": "first-write", "consistency": "strong"}}
        assert (await browser.put(STATE, json=[first])).status_code == 204
        assert code(await browser.put(STATE, json=[first])) == (409, "ERR_STATE_SAVE")
        etag = (await browser.get(f"{STATE}/a")).headers["etag"]
        assert (await browser.post(STATE, json=[{"key": "a", "value": 2, "etag": etag}])).status_code == 204
        assert code(await browser.post(STATE, json=[{"key": "a", "value": 3, "etag": etag}]))[0] == 409
        refused = await browser.delete(f"{STATE}/a", headers={"if-match": etag})
        assert code(refused) == (409, "ERR_STATE_DELETE")
        last = {"params": {"concurrency": "last-write"}, "headers": {"if-match": etag}}
        assert (await browser.delete(f"{STATE}/a", **last)).status_code == 204
        await browser.post(STATE, json=[{"key": "a", "value": 2}])
        etag = (await browser.get(f"{STATE}/a")).headers["etag"]
        assert (await browser.delete(f"{STATE}/a", headers={"if-match": f'"{etag}"'})).status_code == 204

    played(run, url, story)


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_bulk_and_transactions(run, url, method):
    async def story(browser):
        operations = [
            {"operation": "upsert", "request": {"key": "a", "value": [1], "metadata": {"ttlInSeconds": "100"}}},
            {"operation": "upsert", "request": {"key": "b", "value": None}},
            {"operation": "delete", "request": {"key": "c"}},
        ]
        done = await browser.request(method, f"{STATE}/transaction", json={"operations": operations})
        assert done.status_code == 204
        found = await browser.request(method, f"{STATE}/bulk", json={"keys": ["a", "none", "b"], "parallelism": 2})
        a, none, b = found.json()
        assert (a["key"], a["data"], none, b["data"]) == ("a", [1], {"key": "none"}, None)
        assert set(a["metadata"]) == {"ttlExpireTime"}
        assert "metadata.ttlExpireTime" in (await browser.get(f"{STATE}/a")).headers
        operations = [
            {"operation": "delete", "request": {"key": "a"}},
            {"operation": "upsert", "request": {"key": "b", "value": 1, "etag": "old"}},
        ]
        refused = await browser.request(method, f"{STATE}/transaction", json={"operations": operations})
        assert code(refused) == (409, "ERR_STATE_TRANSACTION")
        assert (await browser.get(f"{STATE}/a")).json() == [1]

    played(run, url, story)


def test_bad_input(run, url):
    async def story(browser):
        unknown = await browser.get("/v1.0/state/unknown/a")
        assert code(unknown) == (400, "ERR_STATE_STORE_NOT_FOUND")
        malformed = (400, "ERR_MALFORMED_REQUEST")
        bodies = (
            b"",
            b"{}",
            b"[{}]",
            b'[{"key": ""}]',
            b'[{"key": "a", "value": }]',
            b'[{"key": "a", "value": "\xff"}]',
            b'[{"key": "a||b"}]',
            b'[{"key": "a", "options": {"concurrency": "third-write"}}]',
            b'[{"key": "a", "metadata": {"ttlInSeconds": "soon"}}]',
            b"[" * 100_000,
        )
        for body in bodies:
            assert code(await browser.post(STATE, content=body)) == malformed, body[:40]
        assert code(await browser.post(f"{STATE}/bulk", json={"keys": "a"})) == malformed
        operations = [{"operation": "insert", "request": {"key": "a"}}]
        assert code(await browser.post(f"{STATE}/transaction", json={"operations": operations})) == malformed
        assert code(await browser.delete(f"{STATE}/a", params={"concurrency": "none"})) == malformed
        assert code(await browser.get(f"{STATE}/%FF")) == malformed
        refused = await browser.patch(f"{STATE}/a")
        assert refused.status_code == 405
        assert {"GET", "DELETE"} <= set(refused.headers["allow"].split(", "))

    played(run, url, story)
