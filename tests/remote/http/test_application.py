"""Every route and every error, over real sockets, against an engine on a SQLite file."""

from __future__ import annotations

import asyncio
import logging
import re

import httpx
import msgspec
import pytest

from perdure.errors import (
    Fenced,
    InstanceExists,
    MailboxFull,
    NotDecodable,
    PayloadTooLarge,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from perdure.remote.http import bodies, document
from perdure.remote.http.bodies import BODY_BYTES_MAX
from perdure.remote.http.faults import Fault
from perdure.remote.security import Policy, Token
from tests.remote.http.desk import V1, Around, Held, served, until

JSON = {"content-type": "application/json"}


def fault(response: httpx.Response) -> tuple[int, str]:
    """Status and code of an answer that is an error, and nothing but that."""
    told = response.json()
    assert told.keys() == {"errorCode", "message"}, told
    assert told["message"]
    assert "Traceback" not in response.text
    return response.status_code, told["errorCode"]


# -- what the operations do ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v1.0", "v1.0-beta1", "v1.0-alpha1"])
def test_an_instance_is_started_and_shown_under_every_version(run, url, version):
    async def scenario():
        async with served(url) as (browser, desk):
            started = await browser.post(
                f"/{version}/workflows/dapr/total/start?instanceID=a-1&appID=desk", content=b" [1,  2] "
            )
            await desk.client.get("a-1").result(30)
            return started, await browser.get(f"/{version}/workflows/dapr/a-1")

    started, shown = run(scenario)
    assert (started.status_code, started.json()) == (202, {"instanceID": "a-1"})
    told = shown.json()
    assert shown.status_code == 200
    moment = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z")
    assert moment.fullmatch(told.pop("createdAt"))
    assert moment.fullmatch(told.pop("lastUpdatedAt"))
    assert told == {
        "instanceID": "a-1",
        "workflowName": "total",
        "runtimeStatus": "COMPLETED",
        "properties": {"dapr.workflow.input": "[1,  2]", "dapr.workflow.output": "3"},
    }


@pytest.mark.parametrize(
    "said, status",
    [
        ({}, 202),
        ({"origin": "http://HOST"}, 202),
        ({"origin": "https://HOST", "sec-fetch-site": "same-origin"}, 202),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://HOST.evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_a_page_of_another_site_steers_nothing(run, url, said, status):
    async def scenario():
        async with served(url) as (browser, desk):
            handle = await desk.client.workflow("approval").with_options(id="a").start("ann")
            headers = {name: value.replace("HOST", browser.base_url.netloc.decode()) for name, value in said.items()}
            ended = await browser.post(f"{V1}/a/terminate", headers=headers)
            looked = await browser.get(f"{V1}/a", headers=headers)
            if status == 202:
                await until(lambda: _is_finished(handle))
            return ended.status_code, looked.status_code, str((await handle.state()).status)

    async def _is_finished(handle):
        return (await handle.state()).finished is not None

    assert run(scenario) == (status, 200, "terminated" if status == 202 else "running")


@pytest.mark.parametrize(
    "host, status",
    [
        ("evil.example", 403),
        ("evil.example:80", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
        ("localhost:3500", 200),
        ("127.0.0.1", 200),
        ("[::1]:3500", 200),
        ("shop.test", 200),
    ],
)
def test_a_page_that_has_bound_its_name_to_this_machine_is_told_nothing_without_a_token(run, url, host, status):
    async def scenario():
        async with served(url) as (browser, desk):
            desk.policy = msgspec.structs.replace(desk.policy, hosts=frozenset(("shop.test",)))
            looked = await browser.get("/v1.0/metadata", headers={"host": host})
            healthy = await browser.get("/v1.0/healthz", headers={"host": host})
            desk.policy = msgspec.structs.replace(desk.policy, api_token=Token("t"))
            known = await browser.get("/v1.0/metadata", headers={"host": host, "dapr-api-token": "t"})
            return looked.status_code, healthy.status_code, known.status_code

    assert run(scenario) == (status, 204 if status == 200 else 403, 200)


def test_with_a_token_a_page_of_another_site_may_steer(run, url):
    async def scenario():
        async with served(url, token="t") as (browser, _):
            headers = {"origin": "http://shop.example", "dapr-api-token": "t"}
            return (await browser.post(f"{V1}/total/start?instanceID=a", headers=headers, content=b"[1,2]")).status_code

    assert run(scenario) == 202


def test_an_instance_is_explained_and_all_of_them_by_cause(run, url):
    async def scenario():
        async with served(url) as (browser, desk):
            await desk.client.workflow("approval").with_options(id="a/1").start("ada")
            while (await desk.client.get("a/1").explain()).cause != "event":
                await asyncio.sleep(0.01)
            told = await browser.get("/perdure/v1/instances/a%2F1/explanation")
            every = await browser.get("/perdure/v1/explanations?workflowName=approval&limit=10")
            none = await browser.get("/perdure/v1/explanations?workflowName=total")
            refused = [
                await browser.get("/perdure/v1/instances/nobody/explanation"),
                await browser.get("/perdure/v1/explanations?limit=0"),
                await browser.get("/perdure/v1/explanations?cursor=x"),
                await browser.get("/perdure/v1/explanations?workflowName=%00"),
            ]
            return told, every, none, refused

    told, every, none, refused = run(scenario)
    assert told.status_code == 200
    found = told.json()
    assert (found["cause"], found["next"], found["chain"], found["normal"]) == ("event", "nothing", [], True)
    assert found["command"] == "perdure raise a/1 approved"
    assert found["line"] in found["sentence"]
    assert every.json() == {
        "looked": 1,
        "cursor": None,
        "causes": [{"cause": "event", "count": 1, "oldest": found["since"], "normal": True, "example": found}],
    }
    assert none.json() == {"looked": 0, "cursor": None, "causes": []}
    assert [response.status_code for response in refused] == [404, 400, 404, 400]


@pytest.mark.parametrize(
    "body, headers, value, shown",
    [
        (b"", {}, "nothing", None),
        (b"null", {}, "nothing", None),
        (b'{"a": "\\u00fc"}', JSON, {"a": "ü"}, '{"a": "\\u00fc"}'),
        (b"paper, 3 boxes", {}, "paper, 3 boxes", "paper, 3 boxes"),
        ('"Grüße\0'.encode(), {"content-type": "text/plain"}, '"Grüße\0', '"Grüße\0'),
        (b"12", {"content-type": "application/x-www-form-urlencoded"}, 12, "12"),
    ],
)
def test_a_body_is_json_verbatim_or_text(run, url, body, headers, value, shown):
    async def scenario():
        async with served(url) as (browser, desk):
            id = (await browser.post(f"{V1}/echo/start", content=body, headers=headers)).json()["instanceID"]
            result = await desk.client.get(id).result(30)
            return result, (await browser.get(f"{V1}/{id}")).json()["properties"].get("dapr.workflow.input")

    assert run(scenario) == (value, shown)


@pytest.mark.parametrize("body, value", [(b"", None), (b"yes, go on", "yes, go on"), (b'{"by": "ann"}', {"by": "ann"})])
def test_an_event_is_raised_with_a_value_a_text_or_nothing(run, url, body, value):
    async def scenario():
        async with served(url) as (browser, desk):
            await browser.post(f"{V1}/approval/start?instanceID=a", json="bob")
            raised = await browser.post(f"{V1}/a/raiseEvent/approved", content=body)
            return raised, await desk.client.get("a").result(30)

    raised, result = run(scenario)
    assert (raised.status_code, raised.json()) == (202, {})
    assert result == ["bob", value]


def test_a_pause_holds_and_a_resume_lets_go_on(run, url):
    async def scenario():
        async with served(url) as (browser, desk):

            async def told():
                shown = (await browser.get(f"{V1}/a")).json()
                return shown["runtimeStatus"], shown["properties"].get("dapr.workflow.custom_status")

            async def asked():
                return (await told())[1]

            await browser.post(f"{V1}/approval/start?instanceID=a", json="bob")
            await until(asked)
            seen = [await told()]
            seen.append((await browser.post(f"{V1}/a/pause")).status_code)
            seen.append(await told())
            await browser.post(f"{V1}/a/raiseEvent/approved", json=1)
            seen.append(await told())
            seen.append((await browser.post(f"{V1}/a/resume")).status_code)
            seen.append(await desk.client.get("a").result(30))
            return seen

    asked = '{"asked":"bob"}'
    running, held = ("RUNNING", asked), ("SUSPENDED", asked)
    assert run(scenario) == [running, 202, held, held, 202, ["bob", 1]]


def test_a_termination_takes_the_children_along_and_a_purge_too(run, url):
    async def scenario():
        async with served(url) as (browser, _):

            async def status(id):
                return (await browser.get(f"{V1}/{id}")).json().get("runtimeStatus")

            async def child_ended():
                return await status("the-child") == "TERMINATED"

            await browser.post(f"{V1}/parent/start?instanceID=p")
            await until(lambda: status("the-child"))
            ended = (await browser.post(f"{V1}/p/terminate")).status_code, await status("p")
            await until(child_ended)
            purged = (await browser.post(f"{V1}/p/purge")).status_code
            gone = [(await browser.get(f"{V1}/{id}")).status_code for id in ("p", "the-child")]
            return ended, purged, gone, (await browser.post(f"{V1}/the-child/raiseEvent/approved")).status_code

    assert run(scenario) == ((202, "TERMINATED"), 202, [404, 404], 404)


def test_a_failure_is_shown_as_one(run, url):
    async def scenario():
        async with served(url) as (browser, desk):
            await browser.post(f"{V1}/broken/start?instanceID=b")
            with pytest.raises(Exception, match="no such luck"):
                await desk.client.get("b").result(30)
            return (await browser.get(f"{V1}/b")).json()

    told = run(scenario)
    assert told["runtimeStatus"] == "FAILED"
    assert told["properties"].pop("dapr.workflow.failure.stack_trace").endswith('raise ValueError("no such luck")\n')
    assert told["properties"] == {
        "dapr.workflow.failure.error_type": "ValueError",
        "dapr.workflow.failure.error_message": "no such luck",
    }


def test_any_instance_can_be_addressed_however_odd_its_id(run, url):
    odd = "order/1 ü|@?#%2F"

    async def scenario():
        async with served(url) as (browser, desk):
            await desk.client.workflow("approval").with_options(id=odd).start("ann")
            path = f"{V1}/order%2F1%20%C3%BC%7C%40%3F%23%252F"
            raised = await browser.post(f"{path}/raiseEvent/approved", json=True)
            return raised.status_code, await desk.client.get(odd).result(30), (await browser.get(path)).json()

    status, result, told = run(scenario)
    assert (status, result, told["instanceID"]) == (202, ["ann", True], odd)


def test_health_follows_the_hub(run, url):
    async def scenario():
        async with served(url) as (browser, desk):
            paths = ("/v1.0/healthz", "/v1.0/healthz/outbound", "/v1.0/healthz?appid=desk", "/v1.0/healthz?appid=x")
            up = [await browser.get(path) for path in paths]
            desk.ready = False
            alive = await browser.get("/v1.0/healthz/live")
            return up, [await browser.get(path) for path in paths[:2]], alive

    up, down, alive = run(scenario)
    assert (alive.status_code, alive.content) == (204, b"")  # because who waits must not be started again
    assert [(answer.status_code, answer.content) for answer in up[:3]] == [(204, b"")] * 3
    assert fault(up[3]) == (500, "ERR_HEALTH_APPID_NOT_MATCH")
    assert [fault(answer) for answer in down] == [
        (500, "ERR_HEALTH_NOT_READY"),
        (500, "ERR_OUTBOUND_HEALTH_NOT_READY"),
    ]


@pytest.mark.parametrize("headers", [{}, {"dapr-api-token": "wrong"}, {"dapr-app-id": "other"}])
def test_the_load_is_told_to_whoever_asks_and_of_this_app_alone(run, url, headers):
    async def scenario():
        async with served(url, token="secret") as (browser, _):
            return await browser.get("/v1.0/scaling?appID=other", headers=headers)

    answer = run(scenario)
    assert answer.json() == {
        "appID": "desk",
        "active": True,
        "waiting": 5,
        "oldestSeconds": 1.5,
        "unfinished": 9,
        "ready": 2,
        "offered": 3,
        "claimed": 1,
        "calls": 0,
        "nodes": 2,
        "slots": 20,
        "busy": 4,
    }
    shape = document(Policy(app_id="desk"))["components"]["schemas"]["Scaling"]
    assert answer.json().keys() == shape["properties"].keys() == set(shape["required"])


def test_metadata_is_shown_with_what_clients_have_attached(run, url):
    async def scenario():
        async with served(url) as (browser, _):
            put = await browser.put("/v1.0/metadata/appCommand", content="python app.py --größe")
            return put, await browser.get("/v1.0/metadata")

    put, got = run(scenario)
    assert (put.status_code, put.content) == (204, b"")
    assert got.json() == {
        "id": "desk",
        "runtimeVersion": "1.19.0",
        "actors": [],
        "extended": {"cliPID": "7", "appCommand": "python app.py --größe"},
    }


def test_a_shutdown_is_passed_on(run, url):
    async def scenario():
        async with served(url) as (browser, desk):
            return await browser.post("/v1.0/shutdown"), desk.stops

    answer, stops = run(scenario)
    assert (answer.status_code, answer.content, stops) == (204, b"", 1)


# -- bad input -----------------------------------------------------------------------------------------------------

DEEP = b"[" * 20_000 + b"]" * 20_000


BAD = [
    ("GET", f"{V1}/nobody", {}, (404, "ERR_INSTANCE_ID_NOT_FOUND")),
    ("POST", f"{V1}/nobody/raiseEvent/x", {}, (404, "ERR_INSTANCE_ID_NOT_FOUND")),
    ("POST", f"{V1}/nobody/pause", {}, (404, "ERR_INSTANCE_ID_NOT_FOUND")),
    ("POST", f"{V1}/nobody/resume", {}, (404, "ERR_INSTANCE_ID_NOT_FOUND")),
    ("POST", f"{V1}/nobody/terminate", {}, (404, "ERR_INSTANCE_ID_NOT_FOUND")),
    ("POST", f"{V1}/nobody/purge", {}, (404, "ERR_INSTANCE_ID_NOT_FOUND")),
    ("POST", f"{V1}/%40counter%40a/terminate", {}, (404, "ERR_INSTANCE_ID_NOT_FOUND")),
    ("GET", f"{V1}/%FF", {}, (400, "ERR_MALFORMED_REQUEST")),
    ("GET", f"{V1}/%00", {}, (400, "ERR_INSTANCE_ID_INVALID")),
    ("GET", f"{V1}/{'x' * 1_025}", {}, (400, "ERR_INSTANCE_ID_INVALID")),
    ("POST", f"{V1}/nobody/raiseEvent/%0A", {}, (400, "ERR_MALFORMED_REQUEST")),
    ("POST", f"{V1}/nobody/raiseEvent/{'x' * 257}", {}, (400, "ERR_MALFORMED_REQUEST")),
    ("POST", f"{V1}/{'x' * 257}/start", {}, (400, "ERR_MALFORMED_REQUEST")),
    ("POST", f"{V1}/%C3%28/start", {}, (400, "ERR_MALFORMED_REQUEST")),
    ("POST", f"{V1}/echo/start?instanceID=a%2Fb", {}, (400, "ERR_INSTANCE_ID_INVALID")),
    ("POST", f"{V1}/echo/start?instanceID=%FF", {}, (400, "ERR_INSTANCE_ID_INVALID")),
    ("POST", f"{V1}/echo/start?instanceID={'x' * 65}", {}, (400, "ERR_INSTANCE_ID_TOO_LONG")),
    ("POST", f"{V1}/echo/start?appID=other", {}, (403, "ERR_PERMISSION_DENIED")),
    ("GET", f"{V1}/nobody?appID=other", {}, (403, "ERR_PERMISSION_DENIED")),
    ("POST", f"{V1}/echo/start", {"content": b"\xff\xfe"}, (400, "ERR_MALFORMED_REQUEST")),
    ("POST", f"{V1}/echo/start", {"content": b"{'a': 1}", "headers": JSON}, (400, "ERR_MALFORMED_REQUEST")),
    ("POST", f"{V1}/echo/start", {"content": b"1],[2", "headers": JSON}, (400, "ERR_MALFORMED_REQUEST")),
    ("POST", f"{V1}/echo/start", {"content": DEEP, "headers": JSON}, (400, "ERR_MALFORMED_REQUEST")),
    ("GET", f"{V1}/nobody?appID=desk&appID=b", {}, (400, "ERR_MALFORMED_REQUEST")),
    ("GET", f"{V1}/nobody?appID=%00", {}, (400, "ERR_MALFORMED_REQUEST")),
    ("GET", "/v1.0/metadata", {"headers": {"dapr-app-id": "other"}}, (403, "ERR_PERMISSION_DENIED")),
    ("POST", f"{V1}/echo/start", {"content": b"x" * (BODY_BYTES_MAX + 1)}, (413, "ERR_BODY_READ")),
    ("PUT", "/v1.0/metadata/a", {"content": b"\xff"}, (400, "ERR_MALFORMED_REQUEST")),
    ("PUT", "/v1.0/metadata/a", {"content": b"x" * 5_000}, (400, "ERR_MALFORMED_REQUEST")),
    ("PUT", "/v1.0/metadata/%07", {}, (400, "ERR_MALFORMED_REQUEST")),
    ("GET", "/v1.0/invoke/app/method/m", {}, (404, "ERR_API_UNIMPLEMENTED")),
    ("GET", "/", {}, (404, "ERR_API_UNIMPLEMENTED")),
    ("GET", "/v1.0/metadata/", {}, (404, "ERR_API_UNIMPLEMENTED")),
    ("POST", f"{V1}//start", {}, (404, "ERR_API_UNIMPLEMENTED")),
    ("GET", f"{V1}/echo/start", {}, (405, "ERR_BAD_REQUEST")),
    ("DELETE", f"{V1}/nobody", {}, (405, "ERR_BAD_REQUEST")),
    ("BREW", "/v1.0/shutdown", {}, (405, "ERR_BAD_REQUEST")),
]


def test_bad_input_is_told_so(run, url):
    async def scenario():
        async with served(url) as (browser, desk):
            answers = [await browser.request(method, path, **options) for method, path, options, _ in BAD]
            return answers, [state.id async for state in desk.client.list()]

    answers, ids = run(scenario)
    told = [(*row[:2], fault(answer)) for row, answer in zip(BAD, answers, strict=True)]
    assert told == [(*row[:2], row[3]) for row in BAD]
    assert all(answer.headers["allow"] for answer in answers if answer.status_code == 405)
    assert ids == []


def test_an_active_id_is_refused_in_the_words_that_clients_know(run, url):
    async def scenario():
        async with served(url) as (browser, desk):
            await browser.post(f"{V1}/approval/start?instanceID=a", json="x")
            again = await browser.post(f"{V1}/approval/start?instanceID=a", json="y")
            purged = await browser.post(f"{V1}/a/purge")
            await browser.post(f"{V1}/a/raiseEvent/approved", json=1)
            first = await desk.client.get("a").result(30)
            late = await browser.post(f"{V1}/a/raiseEvent/approved", json=2)
            reused = await browser.post(f"{V1}/echo/start?instanceID=a", json="z")
            return again, purged, first, late, reused, await desk.client.get("a").result(30)

    again, purged, first, late, reused, second = run(scenario)
    assert fault(again) == (409, "ERR_START_WORKFLOW")
    assert "an active workflow with ID 'a' already exists" in again.json()["message"]
    assert fault(purged) == (409, "ERR_PURGE_WORKFLOW")
    assert (first, late.status_code, reused.status_code, second) == (["x", 1], 202, 202, "z")


def test_a_body_as_large_as_the_bound_passes_and_one_sent_in_chunks_is_counted(run, url):
    async def chunks(count):
        for _ in range(count):
            yield b"x" * 65_536

    async def scenario():
        async with served(url) as (browser, desk):
            id = (await browser.post(f"{V1}/echo/start", content=chunks(BODY_BYTES_MAX // 65_536))).json()["instanceID"]
            result = await desk.client.get(id).result(30)
            beyond = await browser.post(f"{V1}/echo/start", content=chunks(BODY_BYTES_MAX // 65_536 + 1))
            return len(result), beyond

    length, beyond = run(scenario)
    assert length == BODY_BYTES_MAX
    assert fault(beyond) == (413, "ERR_BODY_READ")


def test_a_body_that_is_announced_too_large_is_not_waited_for(run, url):
    async def scenario():
        async with served(url) as (browser, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", browser.base_url.port)
            head = f"POST {V1}/echo/start HTTP/1.1\r\nhost: x\r\ncontent-length: {10**12}\r\nconnection: close\r\n\r\n"
            writer.write(head.encode())
            async with asyncio.timeout(bodies.BODY_SECONDS_MAX / 2):
                answer = await reader.read()
            writer.close()
            return answer

    assert run(scenario).startswith(b"HTTP/1.1 413")


def test_text_that_json_makes_too_large_is_refused(run, url):
    async def scenario():
        async with served(url) as (browser, _):
            return await browser.post(f"{V1}/echo/start", content=b"\x01" * (2 * 1024 * 1024))

    assert fault(run(scenario)) == (413, "ERR_BODY_READ")


def test_a_body_that_does_not_arrive_is_not_waited_for(run, url, monkeypatch):
    monkeypatch.setattr(bodies, "BODY_SECONDS_MAX", 0.1)

    async def scenario():
        async with served(url) as (browser, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", browser.base_url.port)
            writer.write(f"POST {V1}/echo/start HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc".encode())
            answer = await reader.read()
            writer.close()
            return answer

    answer = run(scenario)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"ERR_BODY_READ" in answer


def test_a_client_that_hangs_up_harms_nobody(run, url, caplog):
    async def scenario():
        async with served(url) as (browser, desk):
            for _ in range(20):
                _, writer = await asyncio.open_connection("127.0.0.1", browser.base_url.port)
                writer.write(f"POST {V1}/echo/start HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc".encode())
                await writer.drain()
                writer.close()
            after = await browser.post(f"{V1}/echo/start", json=1)
            return after.status_code, [state.id async for state in desk.client.list()]

    with caplog.at_level(logging.WARNING):
        status, ids = run(scenario)
    assert (status, len(ids), caplog.records) == (202, 1, [])


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"GET \xff HTTP/1.1\r\n\r\n"])
def test_what_is_no_http_is_refused(run, url, garbage):
    async def scenario():
        async with served(url) as (browser, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", browser.base_url.port)
            writer.write(garbage + b"\r\n\r\n")
            answer = await reader.read()
            writer.close()
            return answer, (await browser.get("/v1.0/healthz")).status_code

    answer, health = run(scenario)
    assert b"Traceback" not in answer
    assert health == 204
    assert answer.startswith(b"HTTP/1.1 400") or answer.startswith(b"HTTP/1.1 404")


# -- the token -----------------------------------------------------------------------------------------------------


WRONG = [
    [],
    [("dapr-api-token", "")],
    [("dapr-api-token", "secre")],
    [("dapr-api-token", "SECRET")],
    [("authorization", "secret")],
    [("dapr-api-token", "sécret")],
]


def test_without_the_token_only_health_is_told(run, url):
    closed = ["/v1.0/metadata", f"{V1}/a", "/openapi.json", "/nowhere", "/v1.0/healthz/", "/v1.0/healthz/../metadata"]
    opened = ["/v1.0/healthz", "/v1.0/healthz/outbound", "/v1.0/healthz/live"]

    async def scenario():
        async with served(url, token="secret") as (browser, desk):
            refused, health = [], []
            for headers in WRONG:
                sent = [(name.encode(), value.encode()) for name, value in headers]
                refused += [await browser.get(path, headers=sent) for path in closed]
                refused.append(await browser.post("/v1.0/shutdown", headers=sent))
                refused.append(await browser.post(f"{V1}/echo/start", headers=sent))
                health += [(await browser.get(path, headers=sent)).status_code for path in opened]
            return refused, health, desk.stops, [state.id async for state in desk.client.list()]

    refused, health, stops, ids = run(scenario)
    assert {fault(answer) for answer in refused} == {(401, "ERR_API_TOKEN_INVALID")}
    assert (set(health), stops, ids) == ({204}, 0, [])


def test_with_the_token_everything_is_as_without_one(run, url):
    async def scenario():
        async with served(url, token="secret") as (browser, desk):
            browser.headers["Dapr-Api-Token"] = "secret"
            id = (await browser.post(f"{V1}/echo/start", json=5)).json()["instanceID"]
            return await desk.client.get(id).result(30), (await browser.get("/nowhere")).status_code

    assert run(scenario) == (5, 404)


# -- what fails behind the routes ----------------------------------------------------------------------------------

PATH = "/var/lib/secret/place.db"


@pytest.mark.parametrize(
    "error, wanted",
    [
        (InstanceExists("taken", "a"), Fault(409, "ERR_START_WORKFLOW", "an active workflow with ID 'a' already ")),
        (MailboxFull("the mailbox is full", "a"), Fault(429, "ERR_START_WORKFLOW", "the mailbox is full [PERDURE-12")),
        (PayloadTooLarge("too large"), Fault(413, "ERR_BODY_READ", "too large [PERDURE-1504]")),
        (NotDecodable(PATH), Fault(500, "ERR_START_WORKFLOW", "what is stored of the instance cannot be read here;")),
        (StoreUnavailable(PATH), Fault(503, "ERR_START_WORKFLOW", "the store does not answer, so it may or may not ")),
        (Fenced(PATH), Fault(503, "ERR_START_WORKFLOW", "another process took the store over; send it again [PERD")),
        (StoreFull(PATH), Fault(507, "ERR_START_WORKFLOW", "the store has no room left; nothing was written [PERDU")),
        (StoreError(PATH), Fault(500, "ERR_START_WORKFLOW", "the server could not do it; see its log [PERDURE-1000]")),
        (RuntimeError(PATH), Fault(500, "ERR_INTERNAL", "the server has a defect; see its log")),
    ],
)
def test_an_error_of_the_engine_is_told_without_what_is_the_servers_own(run, url, caplog, error, wanted):
    class Failing(Around):
        async def start(self, *_):
            raise error

    async def scenario():
        async with served(url, around=Failing) as (browser, _):
            return await browser.post(f"{V1}/echo/start")

    with caplog.at_level(logging.WARNING, "perdure"):
        answer = run(scenario)
    assert fault(answer) == (wanted.status, wanted.code)
    assert answer.json()["message"].startswith(wanted.message)
    assert PATH not in answer.text
    if wanted.status >= 500:
        assert PATH in caplog.text
        assert ("Traceback" in caplog.text) == (wanted.code == "ERR_INTERNAL")
    else:
        assert caplog.records == []


# -- many at once --------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_many_requests_at_once_are_all_served(run, url):
    async def scenario():
        async with served(url) as (browser, desk):

            async def one(n):
                await browser.post(f"{V1}/approval/start?instanceID=i-{n}", json=n % 2 * "x" or "y")
                await browser.post(f"{V1}/i-{n}/raiseEvent/approved", json=n)
                _, raised = await desk.client.get(f"i-{n}").result(30)
                shown = (await browser.get(f"{V1}/i-{n}")).json()
                return raised, shown["runtimeStatus"]

            return await asyncio.gather(*(one(n) for n in range(100)))

    assert run(scenario) == [(n, "COMPLETED") for n in range(100)]


def test_a_request_that_waits_holds_no_other_up(run, url):
    async def scenario():
        async with served(url, around=Held) as (browser, desk):
            waiting = asyncio.create_task(browser.post(f"{V1}/echo/start?instanceID=slow", json=1))
            await desk.asked.begun.wait()
            others = [
                (await browser.get("/v1.0/metadata")).status_code,
                (await browser.get(f"{V1}/slow")).status_code,
            ]
            still = not waiting.done()
            desk.asked.let_go.set()
            return others, still, (await waiting).json()

    assert run(scenario) == ([200, 404], True, {"instanceID": "slow"})
