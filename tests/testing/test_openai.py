"""The fake model, asked by the client that applications use."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import validate

from perdure.testing.openai import Answer, Call, FakeOpenAI, Fault, answer_by_prompt
from perdure.testing.openai.filling import fill
from perdure.testing.openai.markers import Step, steps_of
from perdure.testing.openai.server import Seen

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
    },
}


@pytest.fixture(scope="module")
def served() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as model:
        yield model


@pytest.fixture
def model(served: FakeOpenAI) -> FakeOpenAI:
    served.forget()
    return served


@pytest.fixture
def client(model: FakeOpenAI) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=model.url, api_key="any", max_retries=0) as client:
        yield client


def _user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_the_last_words_of_the_user_are_repeated(client: openai.OpenAI, model: FakeOpenAI) -> None:
    answer = client.chat.completions.create(model="m", messages=_user("good morning"))
    assert answer.choices[0].message.content == "good morning"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 2)
    assert [each["model"] for each in model.chats] == ["m"]


@pytest.mark.parametrize("stream", [False, True])
def test_who_has_the_answer_finds_the_request_remembered(
    client: openai.OpenAI, model: FakeOpenAI, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    remember = FakeOpenAI.remember

    def slowly(model: FakeOpenAI, seen: Seen) -> None:
        time.sleep(0.1)
        remember(model, seen)

    monkeypatch.setattr(FakeOpenAI, "remember", slowly)
    answer = client.chat.completions.create(model="m", messages=_user("hello"), stream=stream)
    assert list(answer)
    assert len(model.requests) == 1


def test_tools_are_called_step_by_step_and_in_parallel(client: openai.OpenAI) -> None:
    messages = _user('[[call add {"a": 1, "b": 2}]] [[call add {"a": 3}]] [[then]] [[call save]] [[then]] [[say done]]')
    steps = []
    for _ in range(3):
        message = client.chat.completions.create(model="m", messages=messages, tools=[ADD]).choices[0].message
        messages.append(message)
        steps.append([(each.function.name, each.function.arguments) for each in message.tool_calls or []])
        messages += [{"role": "tool", "tool_call_id": each.id, "content": "3"} for each in message.tool_calls or []]
    assert steps == [[("add", '{"a": 1, "b": 2}'), ("add", '{"a": 3}')], [("save", "{}")], []]
    assert messages[-1].content == "done"


def test_a_schema_is_filled_unless_the_prompt_has_the_answer(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"$ref": "#/$defs/City"}, "degrees": {"type": "integer", "minimum": 5}},
        "required": ["city", "degrees"],
        "$defs": {"City": {"enum": ["Paris", "Rome"]}},
    }
    asked: Any = {"type": "json_schema", "json_schema": {"name": "weather", "schema": schema}}
    filled = client.chat.completions.create(model="m", messages=_user("weather"), response_format=asked)
    assert json.loads(filled.choices[0].message.content or "") == {"city": "Paris", "degrees": 5}
    told = _user('[[answer {"city": "Rome", "degrees": 30}]]')
    given = client.chat.completions.create(model="m", messages=told, response_format=asked)
    assert json.loads(given.choices[0].message.content or "") == {"city": "Rome", "degrees": 30}


def test_a_required_tool_is_called_with_its_parameters_filled() -> None:
    request = {"messages": _user("x"), "tools": [ADD], "tool_choice": "required"}
    assert answer_by_prompt(request) == Answer(None, (Call("add", {"a": 1, "b": 1}),))
    named = {**request, "tool_choice": {"type": "function", "function": {"name": "other"}}}
    assert answer_by_prompt(named) == Answer("x")


def test_a_stream_brings_the_same_as_one_body(client: openai.OpenAI) -> None:
    asked = _user('[[say a text of more than one piece]] [[call add {"a": 41, "b": 1}]]')
    text, arguments, finish, used = "", "", None, None
    options: Any = {"include_usage": True}
    for event in client.chat.completions.create(model="m", messages=asked, stream=True, stream_options=options):
        used = event.usage or used
        for choice in event.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
            for call in choice.delta.tool_calls or []:
                assert call.function is not None
                arguments += call.function.arguments or ""
    whole = client.chat.completions.create(model="m", messages=asked)
    assert text == whole.choices[0].message.content == "a text of more than one piece"
    assert json.loads(arguments) == {"a": 41, "b": 1}
    assert finish == whole.choices[0].finish_reason == "tool_calls"
    assert used is not None
    assert used == whole.usage


def test_models_vectors_and_plain_completions(client: openai.OpenAI) -> None:
    assert [each.id for each in client.models.list()] == ["fake"]
    assert client.completions.create(model="m", prompt="once upon").choices[0].text == "once upon"
    vectors = [each.embedding for each in client.embeddings.create(model="m", input=["a", "b", "a"], dimensions=8).data]
    assert vectors[0] == vectors[2] != vectors[1]
    assert math.isclose(sum(each * each for each in vectors[1]), 1, rel_tol=1e-6)


def test_a_refusal_says_when_to_come_again(client: openai.OpenAI, model: FakeOpenAI) -> None:
    model.fail(Fault(status=429, retry_after=7))
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="m", messages=_user("hello"))
    assert caught.value.response.headers["retry-after"] == "7"
    model.fail(Fault(status=500, retry_after=0.01), times=2)
    patient = client.with_options(max_retries=2)
    assert patient.chat.completions.create(model="m", messages=_user("hello")).choices[0].message.content == "hello"
    assert [each.status for each in model.requests] == [429, 500, 500, 200]


def test_a_connection_is_dropped_before_and_inside_an_answer(client: openai.OpenAI, model: FakeOpenAI) -> None:
    model.fail(Fault(drop=True))
    with pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(model="m", messages=_user("hello"))
    model.fail(Fault(drop_after=2))
    stream = client.chat.completions.create(model="m", messages=_user("hello again"), stream=True)
    assert [next(stream).choices[0].delta.content for _ in range(2)] == ["", "hello ag"]
    with pytest.raises(openai.APIConnectionError):
        next(stream)
    assert [each.status for each in model.requests] == [0, 0]


def test_an_answer_is_late(client: openai.OpenAI, model: FakeOpenAI) -> None:
    model.fail(Fault(latency=0.2))
    before = time.monotonic()
    client.chat.completions.create(model="m", messages=_user("hello"))
    assert time.monotonic() - before >= 0.2


def test_a_mark_that_cannot_be_read_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="holds no JSON"):
        client.chat.completions.create(model="m", messages=_user("[[call add {a}]]"))


def test_a_function_decides_where_the_prompt_does_not() -> None:
    def grumpy(request: dict[str, Any]) -> Answer | None:
        return Answer("no") if request["model"] == "grumpy" else None

    with FakeOpenAI(grumpy) as model, openai.OpenAI(base_url=model.url, api_key="any") as client:
        said = [
            client.chat.completions.create(model=name, messages=_user("please")).choices[0].message.content
            for name in ("grumpy", "other")
        ]
    assert said == ["no", "please"]


@pytest.mark.long  # because another interpreter has to load it
def test_what_has_no_answer_is_told_why(model: FakeOpenAI) -> None:
    with httpx.Client(base_url=model.url) as http:
        for body in ({"messages": 5}, {"messages": [5]}):
            answer = http.post("/chat/completions", json=body)
            assert answer.status_code == 400
            assert "there is no answer to this" in answer.text
        refused = http.post("/faults", json={"statos": 500})
        assert refused.status_code == 400
        assert "statos" in refused.text


def test_a_function_that_fails_is_told_to_whoever_asks() -> None:
    def answering(request: dict[str, Any]) -> Answer:
        raise KeyError("city")

    with FakeOpenAI(answering=answering) as model, openai.OpenAI(base_url=model.url, api_key="any") as client:
        with pytest.raises(openai.BadRequestError, match="KeyError: 'city'"):
            client.chat.completions.create(model="m", messages=_user("hello"))
        assert [seen.status for seen in model.requests] == [400]


@pytest.mark.long
def test_it_runs_as_a_process_and_is_steered_over_http() -> None:
    program = [sys.executable, "-m", "perdure.testing.openai", "--model", "small"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        with httpx.Client(base_url=process.stdout.readline().strip()) as http:
            assert [each["id"] for each in http.get("/models").json()["data"]] == ["small"]
            http.post("/faults", json={"status": 503, "times": 1})
            asked = {"model": "small", "messages": _user("hello")}
            assert [http.post("/chat/completions", json=asked).status_code for _ in range(2)] == [503, 200]
            assert [each["status"] for each in http.get("/requests").json()["requests"]] == [503, 200]
        process.terminate()


def test_marks_of_a_prompt() -> None:
    assert steps_of("nothing [here]") == []
    assert steps_of('[[call a {"x": [[1]]}]][[then]][[answer {"y": 2}]]') == [
        Step(calls=(("a", {"x": [[1]]}),)),
        Step(value={"y": 2}),
    ]
    with pytest.raises(ValueError, match="no end"):
        steps_of("[[say forever")


_SCHEMAS = st.recursive(
    st.sampled_from(
        [
            {"type": "string", "minLength": 6, "maxLength": 9},
            {"type": "integer", "minimum": 3},
            {"type": "integer", "exclusiveMaximum": 0},
            {"type": "number", "exclusiveMinimum": 2},
            {"type": "boolean"},
            {"type": "null"},
            {"enum": ["one", "two"]},
            {"const": 4},
            {"type": ["string", "null"]},
        ]
    ),
    lambda inner: (
        st.fixed_dictionaries({"type": st.just("array"), "items": inner, "minItems": st.integers(0, 2)})
        | st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)})
        | st.dictionaries(st.sampled_from("abc"), inner, max_size=3).map(
            lambda each: {"type": "object", "properties": each, "required": list(each), "additionalProperties": False}
        )
    ),
    max_leaves=8,
)


@settings(max_examples=30, deadline=None)
@given(_SCHEMAS)
def test_what_fills_a_schema_is_allowed_by_it(schema: dict[str, Any]) -> None:
    validate(fill(schema), schema)


def test_a_schema_without_an_end_is_refused() -> None:
    endless = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    with pytest.raises(ValueError, match="levels"):
        fill(endless)
