"""Dapr's conversation and secret calls, over a real connection, to a model that speaks OpenAI's protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import any_pb2, wrappers_pb2

from perdure.app import open_store
from perdure.blocks.conversation import Answer, Conversation, Message, answer_of, request_of
from perdure.blocks.resources import Component, Resources
from perdure.errors import InvalidArgument, MalformedMessage, ModelUnavailable
from perdure.remote import models
from perdure.remote.models import Models, target_of
from perdure.remote.rpc.table import RUNTIME
from perdure.remote.server import Server
from perdure.remote.settings import Listener, ServerSettings
from perdure.remote.wire.schema import RUNTIME_SCHEMA
from perdure.testing.openai import FakeOpenAI, Fault
from tests.conftest import Run
from tests.remote.peer import Peer, until

WEATHER = {"function": {"name": "weather", "description": "Of a city.", "parameters": {"type": "object", "size": 3}}}


class Caller:
    """A client of Dapr's own API."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.port = peer.port

    async def ask(self, call: str, request: str, answer: str, **fields: Any) -> Any:
        data = getattr(RUNTIME_SCHEMA, request)(**fields).SerializeToString()
        return RUNTIME_SCHEMA.parse(answer, await self._peer.call(f"/{RUNTIME}/{call}", data))

    async def converse(self, name: str, *texts: str, **fields: Any) -> Any:
        said = [{"of_user": {"content": [{"text": text}]}} for text in texts]
        inputs = fields.pop("inputs", [{"messages": said}])
        names = ("ConverseAlpha2", "ConversationRequestAlpha2", "ConversationResponseAlpha2")
        return await self.ask(*names, name=name, inputs=inputs, **fields)


def play(scenario: Callable[[Caller], Awaitable[None]], folder: Path, *components: Component) -> None:
    async def within() -> None:
        store = f"sqlite:///{folder}/app.db"
        listener = Listener(app_id="app", grpc_port=0, http_port=None, resources=Resources(components=components))
        server = Server(open_store(store), ServerSettings(listeners=(listener,), store=store, drain_seconds=0.1))
        async with asyncio.timeout(30):
            await server.open()
            try:
                async with Peer(server.listeners[0].grpc_port) as peer:
                    await scenario(Caller(peer))
            finally:
                await server.close()

    asyncio.run(within())


def component(name: str, type: str, **metadata: str) -> Component:
    return Component(name=name, type=type, version="v1", metadata=metadata)


def test_a_conversation_with_tools_goes_to_the_model_and_back(tmp_path: Path) -> None:
    with FakeOpenAI() as model:

        async def scenario(client: Caller) -> None:
            text = '[[call weather {"city": "Rome"}]] [[then]] [[say sunny]]'
            limit = any_pb2.Any()
            limit.Pack(wrappers_pb2.Int64Value(value=7))
            packed = {"type_url": limit.type_url, "value": limit.value}
            asked: dict[str, Any] = {"tools": [WEATHER], "tool_choice": "auto", "parameters": {"max_tokens": packed}}
            (output,) = (await client.converse("llm", text, temperature=0.5, context_id="c", **asked)).outputs
            (choice,) = output.choices
            (call,) = choice.message.tool_calls
            assert (choice.finish_reason, call.function.name) == ("tool_calls", "weather")
            assert json.loads(call.function.arguments) == {"city": "Rome"}
            assert (output.model, output.usage.total_tokens > 0) == ("some-model", True)
            called = {"id": call.id, "function": {"name": "weather", "arguments": call.function.arguments}}
            messages = [
                {"of_system": {"content": [{"text": "be "}, {"text": "short"}]}},
                {"of_user": {"content": [{"text": text}]}},
                {"of_assistant": {"tool_calls": [called]}},
                {"of_tool": {"tool_id": call.id, "name": "weather", "content": [{"text": "sunny"}]}},
            ]
            answer = await client.converse("llm", inputs=[{"messages": messages}], tools=[WEATHER], context_id="c")
            assert answer.context_id == "c"
            assert answer.outputs[0].choices[0].message.content == "sunny"
            await until(lambda: len(model.chats) == 2)  # because the model notes a request after its answer
            first, second = model.chats
            assert (first["temperature"], first["max_tokens"], first["model"]) == (0.5, 7, "some-model")
            assert first["tools"][0]["function"]["parameters"] == {"type": "object", "size": 3}
            assert [m["role"] for m in second["messages"]] == ["system", "user", "assistant", "tool"]
            assert second["messages"][0]["content"] == "be short"
            assert second["messages"][3] == {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
            old = {"name": "llm", "inputs": [{"content": "[[say hello]]"}]}
            answer = await client.ask("ConverseAlpha1", "ConversationRequest", "ConversationResponse", **old)
            assert [each.result for each in answer.outputs] == ["hello"]

        play(scenario, tmp_path, component("llm", "conversation.openai", endpoint=model.url, model="some-model"))


@pytest.mark.parametrize(
    "fault, status",
    [
        (Fault(status=401), grpc.StatusCode.INVALID_ARGUMENT),
        (Fault(status=429), grpc.StatusCode.UNAVAILABLE),
        (Fault(status=500), grpc.StatusCode.UNAVAILABLE),
        (Fault(drop=True), grpc.StatusCode.UNAVAILABLE),
    ],
)
def test_what_is_wrong_for_good_and_what_is_worth_another_try_differ(
    fault: Fault, status: grpc.StatusCode, tmp_path: Path
) -> None:
    with FakeOpenAI() as model:

        async def scenario(client: Caller) -> None:
            model.fail(fault)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await client.converse("llm", "hello")
            assert refused.value.code() is status
            assert "secret" not in str(refused.value)
            assert (await client.converse("llm", "[[say hello]]")).outputs[0].choices[0].message.content == "hello"

        metadata = {"endpoint": model.url, "model": "m", "key": "secret"}
        play(scenario, tmp_path, component("llm", "conversation.openai", **metadata))


def test_an_echo_and_what_is_refused(tmp_path: Path) -> None:
    async def scenario(client: Caller) -> None:
        answer = await client.converse("echo", "what", "is the weather", tools=[WEATHER])
        (choice,) = answer.outputs[0].choices
        assert (choice.message.content, choice.message.tool_calls[0].function.name) == ("is the weather", "weather")
        for fields, told in (
            ({"name": "other"}, "app 'app' has no model 'other'; its components of this block are: echo"),
            ({"name": "echo", "scrub_pii": True}, "nothing here takes personal data out"),
            ({"name": "echo", "inputs": [{"messages": [{}]}]}, "is of no kind"),
            ({"name": "echo", "inputs": [{}] * 101}, "send at most 100"),
            ({"name": "echo", "parameters": {"a": {"type_url": "x/y"}}}, "parameter 'a' is a x/y"),
        ):
            with pytest.raises(grpc.aio.AioRpcError, match=told):
                await client.converse(str(fields.pop("name")), "hello", **fields)

    play(scenario, tmp_path, component("echo", "conversation.echo"))


def test_secrets_of_the_environment_and_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "t")
    (tmp_path / "secrets.json").write_text('{"redis": {"password": "x"}, "plain": "y"}')

    async def scenario(client: Caller) -> None:
        one = ("GetSecret", "GetSecretRequest", "GetSecretResponse")
        assert dict((await client.ask(*one, store_name="env", key="MY_TOKEN")).data) == {"MY_TOKEN": "t"}
        assert dict((await client.ask(*one, store_name="file", key="redis:password")).data) == {"redis:password": "x"}
        every = await client.ask("GetBulkSecret", "GetBulkSecretRequest", "GetBulkSecretResponse", store_name="file")
        found = {name: dict(each.secrets) for name, each in every.data.items()}
        assert found == {"redis:password": {"redis:password": "x"}, "plain": {"plain": "y"}}
        for store, key, told in (("env", "DAPR_API_TOKEN", "has no secret"), ("none", "x", "there are env, file")):
            with pytest.raises(grpc.aio.AioRpcError, match=told):
                await client.ask(*one, store_name=store, key=key)

    file = component("file", "secretstores.local.file", secretsFile=str(tmp_path / "secrets.json"))
    play(scenario, tmp_path, component("env", "secretstores.local.env"), file)


def test_where_a_model_is_reached() -> None:
    openai = component("m", "conversation.openai", model="gpt", key="k", maxTokens="5", temperature="0.1")
    target = target_of(openai, {"OPENAI_BASE_URL": "http://here/v1/"})
    assert (target.url, target.headers["authorization"]) == ("http://here/v1/chat/completions", "Bearer k")
    assert target.settings == {"temperature": 0.1, "max_tokens": 5}
    assert "k'" not in repr(target)
    assert target_of(component("m", "conversation.ollama", model="x"), {}).url.startswith("http://localhost:11434/v1/")
    azure = component(
        "m", "conversation.openai", model="a/b", key="k", endpoint="https://me.azure", apiType="azure", apiVersion="1"
    )
    target = target_of(azure, {})
    assert target.url == "https://me.azure/openai/deployments/a%2Fb/chat/completions?api-version=1"
    assert target.headers["api-key"] == "k"


@pytest.mark.parametrize(
    "metadata, told",
    [
        ({}, "names no `model`"),
        ({"model": "m", "endpoint": "ftp://x"}, r"write an http\(s\) URL"),
        ({"model": "m", "apiType": "azure"}, "names no `apiVersion`"),
        ({"model": "m", "maxTokens": "many"}, "write a number"),
    ],
)
def test_a_model_that_cannot_be_reached_as_it_is_declared(metadata: dict[str, str], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        target_of(component("m", "conversation.openai", **metadata), {})


def test_parameters_do_not_replace_what_is_said() -> None:
    asked = Conversation(messages=(Message(role="user", text="hi"),), parameters={"messages": [], "seed": 1})
    assert request_of(asked, "m", {}) == {"model": "m", "seed": 1, "messages": [{"role": "user", "content": "hi"}]}


def test_an_answer_that_is_none() -> None:
    with pytest.raises(MalformedMessage, match="none of OpenAI's protocol"):
        answer_of(b"<html>")


def test_requests_beyond_the_bound_are_told_to_come_later(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setattr(models, "WAITING_MAX", 2)

    async def scenario() -> None:
        with FakeOpenAI() as model:
            model.fail(Fault(latency=0.3), times=2)
            desk = Models({})
            llm = desk.of(component("m", "conversation.openai", model="m", endpoint=model.url))
            asked = Conversation(messages=(Message(role="user", text="[[say hi]]"),))
            answers = await asyncio.gather(*(llm.answer(asked) for _ in range(3)), return_exceptions=True)
            assert [type(each) for each in answers] == [Answer, Answer, ModelUnavailable]
            assert (await llm.answer(asked)).choices[0].message.text == "hi"
            desk.close()

    run(scenario)


def test_closing_breaks_off_what_is_under_way(run: Run) -> None:
    async def scenario() -> None:
        with FakeOpenAI() as model:
            model.fail(Fault(latency=20.0))
            desk = Models({})
            llm = desk.of(component("m", "conversation.openai", model="m", endpoint=model.url))
            asking = asyncio.ensure_future(llm.answer(Conversation(messages=())))
            while not model.asked:
                await asyncio.sleep(0.01)
            desk.close()
            with pytest.raises(ModelUnavailable, match="cannot be reached"):
                await asyncio.wait_for(asking, 30)

    run(scenario)
