"""Knows the bodies of OpenAI's protocol: answers, events of a stream, vectors, errors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from perdure.testing.openai.answers import Answer, text_of

CREATED = 1_767_225_600
"""Seconds since 1970 at which all answers were created, because an answer is the same each time."""
DIMENSIONS = 16
"""Numbers of a vector, unless the request says how many."""
PIECE = 8
"""Characters of text that one event of a stream brings."""


def completion(request: dict[str, Any], answer: Answer, number: int) -> dict[str, Any]:
    """The body of `/chat/completions`."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if answer.calls:
        message["tool_calls"] = _calls(answer, number)
    choice = {"index": 0, "message": message, "finish_reason": _finish(answer), "logprobs": None}
    return {**_head(request, number, "chat.completion"), "choices": [choice], "usage": usage(request, answer)}


def chunks(request: dict[str, Any], answer: Answer, number: int) -> Iterator[dict[str, Any]]:
    """The events of a streamed `/chat/completions`, without the end mark."""
    head = _head(request, number, "chat.completion.chunk")

    def event(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield event({"role": "assistant", "content": ""})
    for piece in _pieces(answer.text or ""):
        yield event({"content": piece})
    for index, call in enumerate(_calls(answer, number)):
        function = call["function"]
        opening = {**call, "index": index, "function": {"name": function["name"], "arguments": ""}}
        yield event({"tool_calls": [opening]})
        for piece in _pieces(function["arguments"]):
            yield event({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield event({}, _finish(answer))
    if (request.get("stream_options") or {}).get("include_usage"):
        yield {**head, "choices": [], "usage": usage(request, answer)}


def plain_completion(request: dict[str, Any], number: int) -> dict[str, Any]:
    """The body of `/completions`: the prompt again."""
    prompt = request.get("prompt") or ""
    text = prompt if isinstance(prompt, str) else "".join(map(str, prompt))
    choice = {"index": 0, "text": text, "finish_reason": "stop", "logprobs": None}
    head = _head(request, number, "text_completion")
    return {**head, "choices": [choice], "usage": _usage(_words(text), _words(text))}


def embeddings(request: dict[str, Any]) -> dict[str, Any]:
    """The body of `/embeddings`: the same vector for the same text, of length one."""
    asked = request.get("input") or []
    texts = [asked] if isinstance(asked, str) or (asked and isinstance(asked[0], int)) else asked
    size = int(request.get("dimensions") or DIMENSIONS)
    vectors = [_vector(str(each), size) for each in texts]
    data = [{"object": "embedding", "index": at, "embedding": each} for at, each in enumerate(vectors)]
    spent = sum(_words(str(each)) for each in texts)
    used = {"prompt_tokens": spent, "total_tokens": spent}
    return {"object": "list", "model": request.get("model", "fake"), "data": data, "usage": used}


def models(names: tuple[str, ...]) -> dict[str, Any]:
    """The body of `/models`."""
    listed = [{"id": name, "object": "model", "created": CREATED, "owned_by": "perdure"} for name in names]
    return {"object": "list", "data": listed}


def failure(status: int, sentence: str) -> dict[str, Any]:
    """The body of an error."""
    kinds = {429: "rate_limit_error", 401: "authentication_error", 404: "not_found_error"}
    kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": sentence, "type": kind, "param": None, "code": None}}


def usage(request: dict[str, Any], answer: Answer) -> dict[str, int]:
    """One token for each word, because a test has to be able to count them."""
    asked = sum(_words(text_of(message)) for message in request.get("messages") or [])
    said = _words(answer.text or "") + sum(_words(json.dumps(call.arguments)) for call in answer.calls)
    return _usage(asked, said)


def _usage(asked: int, said: int) -> dict[str, int]:
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def _head(request: dict[str, Any], number: int, kind: str) -> dict[str, Any]:
    return {"id": f"fake-{number}", "object": kind, "created": CREATED, "model": request.get("model", "fake")}


def _calls(answer: Answer, number: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"call-{number}-{at}",
            "type": "function",
            "function": {"name": call.tool, "arguments": json.dumps(call.arguments)},
        }
        for at, call in enumerate(answer.calls)
    ]


def _finish(answer: Answer) -> str:
    return "tool_calls" if answer.calls else "stop"


def _pieces(text: str) -> Iterator[str]:
    return (text[at : at + PIECE] for at in range(0, len(text), PIECE))


def _words(text: str) -> int:
    return len(text.split())


def _vector(text: str, size: int) -> list[float]:
    numbers = [hashlib.sha256(f"{at} {text}".encode()).digest()[0] - 127.5 for at in range(size)]
    length = sum(number * number for number in numbers) ** 0.5
    return [number / length for number in numbers]
