"""Agents over HTTP: asked by OpenAI's own client, and by whoever reads their events."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.test import TestModel

from perdure import App
from perdure.agents import DurableAgent, following
from perdure.agents.web import application, completions
from perdure.app import open_store
from perdure.errors import InvalidArgument
from perdure.remote.http.listener import HttpListener
from perdure.remote.server import Server
from perdure.remote.settings import Listener, ServerSettings
from perdure.testing.openai import FakeOpenAI, Fault
from tests.agents.hosting import PATIENCE_SECONDS, Site, served


@pytest.fixture(scope="module")
def model() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as model:
        yield model


@pytest.fixture(scope="module")
def site(model: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("desk")
    with served(model.url, f"sqlite:///{folder}/desk.db") as opened:
        yield opened


@pytest.fixture
def client(site: Site, model: FakeOpenAI) -> Iterator[openai.OpenAI]:
    model.forget()
    with openai.OpenAI(base_url=f"{site.url}/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def http(site: Site, model: FakeOpenAI) -> Iterator[httpx.Client]:
    model.forget()
    with httpx.Client(base_url=site.url, timeout=20) as http:
        yield http


def _user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def _keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def test_a_model_is_an_agent(client: openai.OpenAI) -> None:
    assert [each.id for each in client.models.list()] == ["clerk", "forecaster"]
    with pytest.raises(openai.NotFoundError, match="there are clerk, forecaster"):
        client.chat.completions.create(model="nobody", messages=_user("hello"))


def test_an_agent_answers_with_its_tools_and_its_usage(client: openai.OpenAI, model: FakeOpenAI) -> None:
    prompt = '[[call look {"place": "Rome"}]] [[then]] [[say it is far]]'
    answer = client.chat.completions.create(model="clerk", messages=_user(prompt))
    assert answer.choices[0].message.content == "it is far"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == sum(_tokens(each) for each in model.chats)
    assert [each["role"] for each in model.chats[1]["messages"]] == ["system", "user", "assistant", "tool"]
    assert answer._request_id == answer.id


def _tokens(request: dict[str, Any]) -> int:
    from perdure.testing.openai import answer_by_prompt
    from perdure.testing.openai.bodies import usage

    return usage(request, answer_by_prompt(request))["total_tokens"]


def test_a_stream_brings_the_words_as_they_come(client: openai.OpenAI) -> None:
    prompt = '[[call look {"place": "Rome"}]] [[say let me have a look]] [[then]] [[say it is very far away]]'
    stream = client.chat.completions.create(
        model="clerk", messages=_user(prompt), stream=True, stream_options={"include_usage": True}
    )
    events = list(stream)
    pieces = [each.choices[0].delta.content or "" for each in events if each.choices]
    assert "".join(pieces) == "let me have a lookit is very far away"
    assert len([each for each in pieces if each]) > 2
    assert events[-2].choices[0].finish_reason == "stop"
    assert events[-1].usage is not None
    assert events[-1].usage.total_tokens > 0


def test_a_typed_answer_is_its_json(client: openai.OpenAI) -> None:
    prompt = _user('[[answer {"city": "Rome", "degrees": 30}]]')
    whole = client.chat.completions.create(model="forecaster", messages=prompt).choices[0].message.content
    pieces = client.chat.completions.create(model="forecaster", messages=prompt, stream=True)
    assert json.loads(whole or "") == {"city": "Rome", "degrees": 30}
    assert "".join(each.choices[0].delta.content or "" for each in pieces) == whole


def test_what_was_said_before_is_known_to_the_model(client: openai.OpenAI, model: FakeOpenAI) -> None:
    said = [
        {"role": "system", "content": "You are in Rome."},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hello to you"},
        {"role": "user", "content": [{"type": "text", "text": "where am I?"}]},
    ]
    client.chat.completions.create(model="clerk", messages=said)  # type: ignore[arg-type]
    told = [(each["role"], each["content"]) for each in model.chats[0]["messages"]]
    assert told[-3:] == [("user", "hello"), ("assistant", "hello to you"), ("user", "where am I?")]
    assert ("system", "You are in Rome.") in told


def test_the_same_key_is_the_same_run(client: openai.OpenAI, model: FakeOpenAI) -> None:
    asked = _user('[[call look {"place": "Oslo"}]] [[then]] [[say found]]')
    first = client.chat.completions.create(model="clerk", messages=asked, extra_headers=_keyed("k-1"))
    again = client.chat.completions.create(model="clerk", messages=asked, extra_headers=_keyed("k-1"))
    stream = client.chat.completions.create(model="clerk", messages=asked, stream=True, extra_headers=_keyed("k-1"))
    assert "".join(each.choices[0].delta.content or "" for each in stream) == "found"
    assert (first.id, first.choices) == (again.id, again.choices)
    assert len(model.chats) == 2
    with pytest.raises(openai.ConflictError, match="used for another request"):
        client.chat.completions.create(model="clerk", messages=_user("other"), extra_headers=_keyed("k-1"))
    with pytest.raises(openai.BadRequestError, match="letters, digits"):
        client.chat.completions.create(model="clerk", messages=asked, extra_headers=_keyed("a b"))


def test_a_key_that_makes_the_id_of_another_agents_run_is_refused(run, url) -> None:
    def agent(name: str) -> DurableAgent[None, str]:
        return DurableAgent(Agent(TestModel(custom_output_text=f"I am {name}"), name=name))

    agents = [agent("desk"), agent("desk-night")]

    async def scenario() -> list[int]:
        web = httpx.ASGITransport(application(agents))
        async with (
            App("desks", store=url, agents=agents),
            httpx.AsyncClient(transport=web, base_url="http://localhost") as http,
        ):
            asked = [("desk", "night-1"), ("desk-night", "1"), ("desk", "night-1")]
            answers = [
                await http.post(f"/agents/{name}/runs", headers=_keyed(key), json={"prompt": "Who?"})
                for name, key in asked
            ]
            return [answer.status_code for answer in answers]

    assert run(scenario) == [202, 409, 202]


def test_requests_of_one_session_wait_for_each_other(run, url) -> None:
    async def echo(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        await asyncio.sleep(0.02)
        return ModelResponse([TextPart("heard")])

    agent = DurableAgent(Agent(FunctionModel(echo), name="echo"))

    async def scenario() -> int:
        web = httpx.ASGITransport(application([agent]))
        async with (
            App("echoes", store=url, agents=[agent]),
            httpx.AsyncClient(transport=web, base_url="http://localhost") as http,
        ):
            bodies = [{"model": "echo", "messages": _user(word)} for word in ("a", "b", "c")]
            asked = (http.post("/v1/chat/completions", headers={"X-Session": "s"}, json=body) for body in bodies)
            assert [answer.status_code for answer in await asyncio.gather(*asked)] == [200, 200, 200]
            return len(await agent.history("s"))

    assert run(scenario) == 6


def test_a_busy_provider_is_asked_again_inside_the_run(client: openai.OpenAI, model: FakeOpenAI) -> None:
    model.fail(Fault(status=503), times=3)
    answer = client.chat.completions.create(model="clerk", messages=_user("[[say here]]"))
    assert answer.choices[0].message.content == "here"


def test_a_run_that_fails_is_an_error_whole_and_in_pieces(client: openai.OpenAI, model: FakeOpenAI) -> None:
    model.fail(Fault(status=401), times=1)
    with pytest.raises(openai.InternalServerError, match="401") as caught:
        client.chat.completions.create(model="clerk", messages=_user("hello"))
    assert caught.value.code == "PERDURE-1301"
    model.fail(Fault(status=401), times=1)
    stream = client.chat.completions.create(model="clerk", messages=_user("hello"), stream=True)
    with pytest.raises(openai.APIError, match="401"):
        list(stream)


def test_clients_do_not_begin_a_failed_run_again_by_themselves(client: openai.OpenAI, model: FakeOpenAI) -> None:
    model.fail(Fault(status=401), times=1)
    with pytest.raises(openai.InternalServerError):
        client.with_options(max_retries=3).chat.completions.create(model="clerk", messages=_user("hello"))
    assert [each.status for each in model.requests] == [401]


def test_an_answer_that_takes_too_long_for_a_request_is_there_for_the_next(
    client: openai.OpenAI, model: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.fail(Fault(latency=0.5))
    asked = _user("[[say at last]]")
    monkeypatch.setattr(completions, "ANSWER_SECONDS", 0.1)
    with pytest.raises(openai.APIStatusError, match="ask again with its key") as caught:
        client.chat.completions.create(model="clerk", messages=asked, extra_headers=_keyed("late"))
    assert caught.value.status_code == 504
    monkeypatch.undo()
    answer = client.chat.completions.create(model="clerk", messages=asked, extra_headers=_keyed("late"))
    assert answer.choices[0].message.content == "at last"
    assert len(model.chats) == 1


def test_what_was_said_before_the_model_hung_up_is_not_passed_off_as_the_answer(
    client: openai.OpenAI, model: FakeOpenAI
) -> None:
    model.fail(Fault(drop_after=3))
    asked = _user("[[say a long answer in several pieces]]")
    stream = client.chat.completions.create(model="clerk", messages=asked, stream=True, extra_headers=_keyed("hung"))
    with pytest.raises(openai.APIError, match="ask again with the same key"):
        list(stream)
    whole = client.chat.completions.create(model="clerk", messages=asked, extra_headers=_keyed("hung"))
    assert whole.choices[0].message.content == "a long answer in several pieces"
    again = client.chat.completions.create(model="clerk", messages=asked, stream=True, extra_headers=_keyed("hung"))
    assert "".join(each.choices[0].delta.content or "" for each in again) == "a long answer in several pieces"


@pytest.mark.parametrize(
    "body, why",
    [
        ({"tools": [{"type": "function", "function": {"name": "x"}}]}, "tools are its own"),
        ({"n": 2}, "one answer"),
        ({"response_format": {"type": "json_object"}}, "type of an agent's answer"),
        ({"stop": ["x"]}, "unknown field `stop`"),
        ({"messages": []}, "0 messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "let it be of the user"),
        ({"messages": [{"role": "tool", "content": "x"}, *_user("y")]}, "is of 'tool'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "takes text"),
    ],
)
def test_what_an_agent_cannot_follow_is_refused(http: httpx.Client, body: dict[str, Any], why: str) -> None:
    answer = http.post("/v1/chat/completions", json={"model": "clerk", "messages": _user("hello"), **body})
    assert answer.status_code == 400
    assert why in answer.json()["error"]["message"]


def test_a_program_that_works_for_a_server_has_its_agents_reached_alike(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/served.db"
    listener = Listener(app_id="desk", grpc_port=0, http_port=None)
    agent = DurableAgent(Agent(TestModel(custom_output_text="from afar"), name="clerk"))

    async def scenario() -> None:
        server = Server(open_store(store), ServerSettings(listeners=(listener,), store=store, drain_seconds=0.2))
        await server.open()
        try:
            address = f"grpc://127.0.0.1:{server.listeners[0].grpc_port}"
            async with (
                App("desk", server=address, agents=[agent]),
                HttpListener(application([agent]), port=0) as web,
                openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{web.port}/v1", api_key="any", max_retries=0) as client,
            ):
                answer = await client.chat.completions.create(model="clerk", messages=_user("hello"))
                assert answer.choices[0].message.content == "from afar"
                stream = await client.chat.completions.create(model="clerk", messages=_user("hello"), stream=True)
                pieces = [each.choices[0].delta.content or "" async for each in stream if each.choices]
                assert "".join(pieces) == "from afar"
        finally:
            await server.close()

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_SECONDS))


def test_a_form_of_another_site_is_refused(http: httpx.Client) -> None:
    body = json.dumps({"prompt": "hello"})
    refused = http.post("/agents/clerk/runs", content=body, headers={"content-type": "text/plain"})
    assert (refused.status_code, http.post("/agents/clerk/runs", content="{").status_code) == (400, 400)


def test_dependencies_that_no_run_could_have_are_refused(http: httpx.Client, model: FakeOpenAI) -> None:
    refused = http.post("/agents/forecaster/runs", json={"prompt": "hello", "deps": {"city": "Rome"}})
    assert refused.status_code == 400
    assert "do not fit the agent's deps_type: Input should be a valid string" in refused.json()["error"]["message"]
    assert "\n" not in refused.text
    assert model.chats == []


def test_a_run_waits_for_people_and_goes_on_when_they_decide(http: httpx.Client) -> None:
    prompt = '[[call refund {"order": 17}]] [[then]] [[say done]]'
    begun = http.post("/agents/clerk/runs", json={"prompt": prompt}, headers=_keyed("r-1"))
    assert begun.status_code == 202
    run = f"/agents/clerk/runs/{begun.json()['id']}"
    pending = _until(lambda: http.get(run).json().get("pending"))
    assert (pending[0]["tool"], pending[0]["arguments"]) == ("refund", {"order": 17})
    unknown = http.post(f"{run}/decisions", json={"call_id": "other", "approved": True})
    assert unknown.status_code == 400
    decided = http.post(f"{run}/decisions", json={"call_id": pending[0]["call_id"], "approved": True, "by": "ann"})
    assert decided.status_code == 204
    done = _until(lambda: (told := http.get(run).json())["status"] == "completed" and told)
    assert (done["output"], done["usage"]["requests"]) == ("done", 2)
    told = _events(http, f"{run}/events")
    assert [each["kind"] for each in told if each["kind"] in ("answered", "returned", "ended")] == [
        "answered", "returned", "answered", "ended",
    ]  # fmt: skip


def test_a_run_is_called_off(http: httpx.Client) -> None:
    begun = http.post("/agents/clerk/runs", json={"prompt": '[[call refund {"order": 1}]]'}).json()
    run = f"/agents/clerk/runs/{begun['id']}"
    _until(lambda: http.get(run).json().get("pending"))
    assert http.post(f"{run}/cancel", json={"reason": "no longer wanted"}).status_code == 204
    assert _until(lambda: (told := http.get(run).json())["status"] == "canceled" and told)


def test_events_go_on_behind_the_last_one_that_was_read(http: httpx.Client) -> None:
    prompt = '[[call look {"place": "Bonn"}]] [[then]] [[say not so far]]'
    begun = http.post("/agents/clerk/runs", json={"prompt": prompt}).json()
    path = f"/agents/clerk/runs/{begun['id']}/events"
    whole = _events(http, path)
    for at in (0, 3, len(whole) - 1):
        assert _events(http, path, {"last-event-id": whole[at]["id"]}) == whole[at + 1 :]
    assert http.get(path, params={"after": "x"}).status_code == 400


def test_nothing_is_left_of_a_reader_that_goes_away(http: httpx.Client, site: Site) -> None:
    begun = http.post("/agents/clerk/runs", json={"prompt": '[[call refund {"order": 1}]]'}).json()
    run = f"/agents/clerk/runs/{begun['id']}"
    _until(lambda: http.get(run).json().get("pending"))

    async def readers() -> int:
        """Tasks that wait for the end of a run: each reader has one. Others come and go with the engine."""
        names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
        return names.count(following._ended.__qualname__)

    assert site.run(readers()) == 0
    with http.stream("GET", f"{run}/events") as events:
        assert next(events.iter_lines()).startswith("id: ")
        assert site.run(readers()) == 1
    _until(lambda: site.run(readers()) == 0)
    assert http.post(f"{run}/cancel", json={}).status_code == 204


def test_other_instances_are_no_runs_of_an_agent(http: httpx.Client, site: Site) -> None:
    begun = http.post("/agents/forecaster/runs", json={"prompt": "hello"}).json()
    assert http.get(f"/agents/forecaster/runs/{begun['id']}").status_code == 200
    assert http.get(f"/agents/clerk/runs/{begun['id']}").status_code == 404
    assert http.get(f"/agents/clerk/runs/{begun['id']}/events").status_code == 404
    assert http.get("/agents/clerk/runs/nothing").status_code == 404


def test_with_keys_nobody_asks_without_one(model: FakeOpenAI, tmp_path: Any) -> None:
    with (
        served(model.url, f"sqlite:///{tmp_path}/desk.db", keys=["s3cret", "other"]) as site,
        httpx.Client(base_url=site.url) as http,
    ):
        for header in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic s3cret"}):
            assert http.get("/v1/models", headers=header).status_code == 401
        with openai.OpenAI(base_url=f"{site.url}/v1", api_key="s3cret") as client:
            assert len(list(client.models.list())) == 2


@pytest.mark.parametrize(
    "options, host, status",
    [
        ({}, "localhost:8000", 200),
        ({}, "127.0.0.1:8000", 200),
        ({}, "rebound.example.org", 421),
        ({"hosts": ["Desk.example.org"]}, "desk.example.org:8000", 200),
        ({"hosts": ["desk.example.org"]}, "rebound.example.org", 421),
        ({"hosts": None}, "anything", 200),
        ({"keys": ["s3cret"]}, "anything", 200),
    ],
)
def test_without_keys_a_page_that_bound_its_name_to_this_machine_is_not_answered(run, options, host, status) -> None:
    web = httpx.ASGITransport(application([DurableAgent(Agent(TestModel(), name="clerk"))], **options))

    async def scenario() -> httpx.Response:
        async with httpx.AsyncClient(transport=web, base_url="http://localhost") as http:
            return await http.get("/v1/models", headers={"host": host, "authorization": "Bearer s3cret"})

    answer = run(scenario)
    assert answer.status_code == status
    if status == 421:
        assert answer.json()["error"]["message"] == (
            "these agents do not go by the name 'rebound.example.org'; add it: application(hosts=[...])"
        )


def test_an_application_without_agents_or_with_two_of_a_name_or_a_key_or_host_that_is_none_is_refused() -> None:
    agents: list[Any] = [DurableAgent(Agent(TestModel(), name="clerk"))]
    for bad in (
        lambda: application([]),
        lambda: application(agents, keys="key"),
        lambda: application(agents, keys=[""]),
        lambda: application(agents, keys=[5]),  # type: ignore[list-item]
        lambda: application(agents, keys=b"key"),  # type: ignore[arg-type]
        lambda: application(agents, hosts="desk.example.org"),
        lambda: application(agents, hosts=[""]),
        lambda: application([*agents, *agents]),
    ):
        with pytest.raises(InvalidArgument):
            bad()


def _events(http: httpx.Client, path: str, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """Each event with its id, until the stream ends."""
    found = []
    for block in http.get(path, headers=headers).text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append({**json.loads(lines["data"]), "id": lines["id"]})
            assert found[-1]["kind"] == lines["event"]
    return found


def _until(look: Any) -> Any:
    ends = time.monotonic() + 20
    while not (found := look()):
        assert time.monotonic() < ends
        time.sleep(0.02)
    return found
