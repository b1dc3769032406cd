"""The page of an agent's run: what was said and done, what it cost, and what is not for browsers."""

from __future__ import annotations

import asyncio
import re
from decimal import Decimal
from html import unescape
from typing import Any

import pytest

from perdure import App, Codec, KeyRing, set_state, wait_for_event
from perdure.codec import Payload, encode
from perdure.history.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ChildCompleted,
    ChildCreated,
    Failure,
    RunCompleted,
    RunStarted,
)
from perdure.history.transcript import STEP_TAG, Returned, transcript
from perdure.remote.dashboard.views.conversation import conversation_of, money
from perdure.sdk.steps import STEP
from tests.remote.dashboard.shop import browsing, text_of


def asked(number: int, agent: str = "desk", at: int = 0) -> ActivityScheduled:
    return ActivityScheduled(number=number, name=f"{agent}__model.request", tags={STEP_TAG: "model"}, at=at)


def tool(number: int, name: str, agent: str = "desk") -> ActivityScheduled:
    step = f"{agent}__function_toolset__<agent>.call_tool:{name}"
    return ActivityScheduled(number=number, name=step, tags={STEP_TAG: "tool"})


def answered(number: int, *parts: Any, cost: str | None = None, at: int = 0) -> ActivityCompleted:
    usage = {"input_tokens": 1_200, "output_tokens": 34, "cost": cost}
    return ActivityCompleted(
        number=number, result=encode({"parts": list(parts), "usage": usage, "model_name": "m-1"}), at=at
    )


def words(text: str) -> dict[str, Any]:
    return {"part_kind": "text", "content": text}


def call(name: str, arguments: Any, id: str) -> dict[str, Any]:
    return {"part_kind": "tool-call", "tool_name": name, "args": arguments, "tool_call_id": id}


RUN = [
    RunStarted(name="agent.desk", input=encode({"prompt": "how far?", "session": "ann"})),
    asked(1),
    answered(1, words("let me see"), call("look", '{"at": 1}', "a"), call("look", {"at": 2}, "b"), cost="0.004"),
    tool(2, "look"),
    tool(3, "look"),
    ActivityCompleted(number=3, result=encode({"result": "second", "kind": "tool_return"})),
    ActivityFailed(number=2, failure=Failure("OSError", "no map"), attempt=3),
    asked(4),
    answered(4, {"part_kind": "thinking", "content": "hm"}, words("very far"), cost="0.0005"),
    RunCompleted(status="completed", output=encode({"agent": "desk", "output": {"miles": 900}})),
]


def test_the_tag_of_a_step_is_that_of_the_sdk() -> None:
    assert STEP_TAG == STEP


def test_a_run_is_told_in_order_with_its_sums() -> None:
    told = conversation_of(RUN)
    assert [(turn.side, turn.who, turn.text) for turn in told.turns] == [
        ("people", "prompt", "how far?"),
        ("agent", "desk", "let me see"),
        ("tool", "look", ""),
        ("tool", "look", "OSError: no map"),
        ("agent", "desk", "very far"),
        ("run", "result", ""),
    ]
    assert (told.requests, told.tools, told.usage.input_tokens, told.usage.output_tokens) == (2, 1, 2_400, 68)
    assert told.cost == "$0.0045"
    assert told.models == ["m-1"]
    assert [turn.tone for turn in told.turns].count("bad") == 1
    assert "session ann" in told.turns[0].facts
    assert "miles" in told.turns[-1].values[0][1].text


def test_a_result_is_that_of_the_call_whose_step_it_is() -> None:
    (returned,) = [entry for entry in transcript(RUN) if isinstance(entry, Returned)]
    assert returned.call is not None
    assert (returned.call.id, returned.call.arguments, returned.result) == ("b", {"at": 2}, "second")


def test_two_agents_in_one_run_do_not_take_each_others_calls() -> None:
    run = [
        asked(1, "a"), asked(2, "b"),
        answered(2, call("look", {"by": "b"}, "b1")), answered(1, call("look", {"by": "a"}, "a1")),
        tool(3, "look", "b"), tool(4, "look", "a"),
        ActivityCompleted(number=4, result=encode({"result": 1})),
        ActivityCompleted(number=3, result=encode({"result": 2})),
    ]  # fmt: skip
    returned = [entry for entry in transcript(run) if isinstance(entry, Returned)]
    assert [(entry.call.id if entry.call else None, entry.result) for entry in returned] == [("a1", 1), ("b1", 2)]


def test_a_child_that_did_a_tools_work_is_linked() -> None:
    run = [
        asked(1), answered(1, call("ask_worker", {"task": "x"}, "c")),
        ChildCreated(number=2, instance="kid-1", name="agent.worker"), ChildCompleted(number=2, result=encode("done")),
    ]  # fmt: skip
    told = conversation_of(run)
    assert [(turn.who, turn.instance) for turn in told.turns] == [("desk", None), ("ask_worker", "kid-1")]


def test_what_is_under_way_is_told() -> None:
    assert conversation_of(RUN[:2]).open == ["desk"]
    assert conversation_of(RUN[:5]).open == ["look", "look"]
    assert conversation_of(RUN).open == []


def test_what_cannot_be_read_is_said_to_be_packed() -> None:
    packed = Payload(encoding="aes256gcm", data=b"x", key="k")
    told = conversation_of([asked(1), ActivityCompleted(number=1, result=packed)])
    assert ["packed by a codec" in turn.note for turn in told.turns] == [True]


@pytest.mark.parametrize(
    "cost, said",
    [(None, "not known"), ("0", "$0.00"), ("12.346", "$12.35"), ("0.0045", "$0.0045"), ("0.00000123", "$0.0000012")],
)
def test_small_amounts_keep_two_digits(cost: str | None, said: str) -> None:
    assert money(Decimal(cost) if cost is not None else None) == said


def desk(url: str, **options: Any) -> App:
    """An agent that looks something up, and waits for a word of people."""
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import FunctionModel
    from pydantic_ai.usage import RequestUsage

    from perdure.agents import WorkflowDurability

    def reply(messages: Any, info: Any) -> ModelResponse:
        usage = RequestUsage(input_tokens=10, output_tokens=5, cost=Decimal("0.0021"))
        if len(messages) == 1:
            return ModelResponse([TextPart("<b>wait</b>"), ToolCallPart("look", {"place": "Rome"})], usage=usage)
        return ModelResponse([TextPart("Rome is far")], usage=usage)

    app = App("desk", store=url, **options)
    agent = Agent(FunctionModel(reply), name="desk", capabilities=[WorkflowDurability()])

    @agent.tool_plain
    async def look(place: str) -> str:
        return f"{place}: 900 miles"

    @app.workflow
    async def talk(prompt: str) -> str:
        output = (await agent.run(prompt)).output
        pending = {"tool": "refund", "arguments": {"amount": 9}, "call_id": "c", "agent": "desk", "run": "r"}
        set_state([pending], "agent.pending")
        await wait_for_event("go")
        return output

    return app


def test_the_page_shows_a_run_of_an_agent_while_it_waits_and_after(url, run) -> None:
    async def scenario() -> None:
        app = desk(url)
        async with app, browsing(app) as browser:
            handle = await app.client.workflow("talk").with_options(id="talk-1").start("how far?")
            while await handle.query(name="agent.pending") is None:
                await asyncio.sleep(0.01)
            about = await browser.get("/at/here/instance", id="talk-1")
            assert "/at/here/conversation?id=talk-1" in about.text
            page = await browser.get("/at/here/conversation", id="talk-1")
            text = text_of(page.text)
            for part in ("how far?", "wait", "Rome: 900 miles", "Rome is far", "20", "$0.0042", "Waits for a decision"):
                assert part in text, part
            assert "<b>wait</b>" not in page.text
            seen = page.text.split("seen=")[1].split('"')[0].split("&")[0]
            same = await browser.get("/at/here/conversation", id="talk-1", seen=seen, headers={"hx-request": "true"})
            assert same.status_code == 204
            await handle.raise_event("go")
            await handle.result()
            after = await browser.get("/at/here/conversation", id="talk-1")
            assert "Waits for a decision" not in after.text
            assert "hx-get" not in after.text.split('id="live"')[1].split(">")[0]

    run(scenario)


def test_a_call_that_waits_is_approved_or_denied_on_the_page(url, run) -> None:
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import FunctionModel

    from perdure.agents import DurableAgent

    def reply(messages: Any, info: Any) -> ModelResponse:
        if len(messages) == 1:
            return ModelResponse([ToolCallPart("refund", {"order": 17}, tool_call_id="c-1")])
        return ModelResponse([TextPart(str(messages[-1].parts[0].content))])

    agent = Agent(FunctionModel(reply), name="clerk")

    @agent.tool_plain(requires_approval=True)
    async def refund(order: int) -> str:
        return f"order {order} is refunded"

    clerk = DurableAgent(agent)
    app = App("desk", store=url, agents=[clerk])

    async def decided(browser: Any, id: str, verb: str) -> str:
        begun = await clerk.start("refund it", id=id)
        while not await begun.pending():
            await asyncio.sleep(0.01)
        page = await browser.get("/at/here/conversation", id=id)
        (link,) = re.findall(rf'href="([^"]+)">{verb} refund<', page.text)
        form = await browser.get(unescape(link))
        fields = {
            "name": re.findall(r'name="name" value="([^"]*)"', form.text)[0],
            "data": unescape(re.findall(r"<textarea[^>]*>\s*(.*?)</textarea>", form.text, re.DOTALL)[0]),
        }
        done = await browser.post("/at/here/instance/raise", fields, {"id": id})
        assert done.status_code == 303
        return await begun.result(timeout=30)

    async def scenario() -> None:
        async with app, browsing(app) as browser, browsing(app, read_only=True) as reader:
            assert await decided(browser, "r-1", "Approve") == "order 17 is refunded"
            assert "denied" in (await decided(browser, "r-2", "Deny")).lower()
            begun = await clerk.start("refund it", id="r-3")
            while not await begun.pending():
                await asyncio.sleep(0.01)
            page = await reader.get("/at/here/conversation", id="r-3")
            assert "Waits for a decision" in page.text
            assert "Approve" not in page.text
            await begun.cancel()

    run(scenario)


def test_without_the_codec_the_page_says_that_it_cannot_read(url, run) -> None:
    async def scenario() -> None:
        from perdure import Client

        app = desk(url, codec=Codec(keys=KeyRing({"a": bytes(32)})))
        async with app:
            handle = await app.client.workflow("talk").with_options(id="talk-1").start("how far?")
            while await handle.query(name="agent.pending") is None:
                await asyncio.sleep(0.01)
            async with Client(url) as client, browsing(client) as browser:
                page = await browser.get("/at/here/conversation", id="talk-1")
                assert page.status_code == 200
                assert "packed by a codec" in text_of(page.text)
                assert "Rome" not in page.text
            await handle.raise_event("go")
            await handle.result()

    run(scenario)
