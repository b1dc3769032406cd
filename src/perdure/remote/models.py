"""The language models of components: how each is reached, and the requests to it."""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import msgspec

from perdure.blocks.conversation import Answer, Choice, Conversation, Message, ToolCall, answer_of, request_of
from perdure.blocks.resources import Component
from perdure.errors import InvalidArgument, ModelUnavailable

REQUESTS_MAX = 64
"""Requests to models that one server has under way at once; others wait."""
WAITING_MAX = 1_000
"""Requests that are under way or wait; what is beyond is told to come later."""
SECONDS_MAX = 300.0
"""How long a model may be silent."""
ANSWER_BYTES_MAX = 16 * 1024 * 1024
TOLD_CHARACTERS_MAX = 500
"""What is told of the words in which a provider refuses a request."""
ENDPOINTS: Mapping[str, str] = {
    "conversation.openai": "https://api.openai.com/v1",
    "conversation.anthropic": "https://api.anthropic.com/v1",
    "conversation.deepseek": "https://api.deepseek.com/v1",
    "conversation.googleai": "https://generativelanguage.googleapis.com/v1beta/openai",
    "conversation.huggingface": "https://router.huggingface.co/v1",
    "conversation.mistral": "https://api.mistral.ai/v1",
    "conversation.ollama": "http://localhost:11434/v1",
    "conversation.openrouter": "https://openrouter.ai/api/v1",
}
"""Where each provider speaks OpenAI's protocol, unless the component names another place."""
OPENAI_ENDPOINT = "OPENAI_BASE_URL"
"""The variable that OpenAI's own programs take the endpoint from."""
_GOOD = range(200, 300)
_AGAIN = frozenset((408, 409, 425, 429))
"""Statuses below 500 after which the same request may succeed."""


class Model(Protocol):
    """What a component of the block `conversation` is."""

    async def answer(self, asked: Conversation) -> Answer:
        """The model's next message. Raises ModelUnavailable, and InvalidArgument if it refuses the request for good."""


class Target(msgspec.Struct, frozen=True):
    """Where requests go, and with what. Its `repr` keeps the key to itself."""

    url: str
    headers: Mapping[str, str]
    model: str
    settings: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Target({self.url!r}, {self.model!r})"


def target_of(component: Component, environment: Mapping[str, str]) -> Target:
    """Pure. Raises InvalidArgument."""
    metadata = component.metadata
    model = metadata.get("model", "")
    if not model:
        raise InvalidArgument(f"component {component.name!r} names no `model`; write one into its metadata")
    usual = environment.get(OPENAI_ENDPOINT) if component.type == "conversation.openai" else None
    endpoint = (metadata.get("endpoint") or usual or ENDPOINTS[component.type]).rstrip("/")
    if urlsplit(endpoint).scheme not in ("http", "https") or not urlsplit(endpoint).hostname:
        raise InvalidArgument(f"the endpoint of component {component.name!r} is {endpoint!r}; write an http(s) URL")
    key = metadata.get("key", "")
    headers = {"content-type": "application/json", "user-agent": "perdure"}
    url = f"{endpoint}/chat/completions"
    if metadata.get("apiType") == "azure":
        version = metadata.get("apiVersion")
        if not version:
            raise InvalidArgument(f"component {component.name!r} is of Azure and names no `apiVersion`")
        url = f"{endpoint}/openai/deployments/{quote(model, safe='')}/chat/completions?api-version={quote(version)}"
        headers["api-key"] = key
    elif key:
        headers["authorization"] = f"Bearer {key}"
    return Target(url, headers, model, _settings(component))


def _settings(component: Component) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field, kind in (("temperature", "temperature", float), ("maxTokens", "max_tokens", int)):
        text = component.metadata.get(name)
        if text:
            try:
                found[field] = kind(text)
            except ValueError:
                raise InvalidArgument(f"{name} of component {component.name!r} is {text!r}; write a number") from None
    return found


class Models:
    """The models of a server's components. Its threads begin with the first request."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._threads: ThreadPoolExecutor | None = None
        self._open: set[http.client.HTTPConnection] = set()
        self._asked = 0

    def of(self, component: Component) -> Model:
        """Raises InvalidArgument."""
        if component.type == "conversation.echo":
            return Echo()
        return _Upstream(target_of(component, self._environment), self)

    async def run(self, target: Target, body: bytes) -> bytes:
        """The body of the answer to a request. Raises ModelUnavailable and InvalidArgument."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(REQUESTS_MAX, thread_name_prefix="perdure-model")
        if self._asked >= WAITING_MAX:
            raise ModelUnavailable(f"{WAITING_MAX:,} requests to models wait here already; ask again in a moment")
        self._asked += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._post, target, body)
        finally:
            self._asked -= 1

    def close(self) -> None:
        """Break off what is under way, because the process would wait for its threads at its end."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        for connection in list(self._open):
            if connection.sock is not None:
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _post(self, target: Target, body: bytes) -> bytes:
        """In a thread. Nothing is tried again here, because whoever asks does so by a policy of its own."""
        parts = urlsplit(target.url)
        connection = _connection(parts.scheme, parts.hostname or "", parts.port)
        self._open.add(connection)
        try:
            connection.request("POST", target.url.partition(parts.netloc)[2], body, dict(target.headers))
            response = connection.getresponse()
            data = response.read(ANSWER_BYTES_MAX + 1)
        except (http.client.HTTPException, OSError) as error:
            raise ModelUnavailable(f"{parts.netloc} cannot be reached: {error or type(error).__name__}") from error
        finally:
            connection.close()
            self._open.discard(connection)
        return body_of(response.status, data, f"{parts.netloc} answers {response.status} {response.reason}")


class _Upstream:
    def __init__(self, target: Target, models: Models) -> None:
        self._target = target
        self._models = models

    async def answer(self, asked: Conversation) -> Answer:
        body = request_of(asked, self._target.model, self._target.settings)
        return answer_of(await self._models.run(self._target, msgspec.json.encode(body)))


class Echo:
    """Says the last message again, and calls each tool that is named in it; for tests."""

    async def answer(self, asked: Conversation) -> Answer:
        text = asked.messages[-1].text if asked.messages else ""
        calls = tuple(
            ToolCall(name=tool.name, arguments="{}", id=f"call_{number}")
            for number, tool in enumerate(asked.tools)
            if tool.name and tool.name in text
        )
        message = Message(role="assistant", text=text, tool_calls=calls)
        return Answer(choices=(Choice(message=message, finish="tool_calls" if calls else "stop"),), model="echo")


def body_of(status: int, data: bytes, told: str) -> bytes:
    """What has been answered, if it is an answer. Raises ModelUnavailable, and InvalidArgument for what stays wrong."""
    if len(data) > ANSWER_BYTES_MAX:
        raise ModelUnavailable(f"{told}, with more than {ANSWER_BYTES_MAX:,} bytes")
    if status in _GOOD:
        return data
    words = data.decode("utf-8", "replace")[:TOLD_CHARACTERS_MAX].strip()
    if status >= 500 or status in _AGAIN:
        raise ModelUnavailable(f"{told}: {words}")
    raise InvalidArgument(f"{told}: {words}")


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=SECONDS_MAX, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, port, timeout=SECONDS_MAX)
