"""Bodies of requests: read within a bound of size and time, and as payloads."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from perdure.codec import JSON, NOTHING, PAYLOAD_BYTES_MAX, Payload
from perdure.errors import PayloadTooLarge
from perdure.remote.http.faults import BODY_UNREAD, MALFORMED, Refused
from perdure.remote.wire import payloads

BODY_BYTES_MAX = 4 * 1024 * 1024
"""Bound of the body of one request: what a sidecar takes unless it is told otherwise."""
BODY_SECONDS_MAX = 30.0
"""How long a body may take to arrive."""
_BLANKS = " \t\r\n"


async def read(request: Request) -> bytes:
    """The whole body. Raises Refused, and ClientDisconnect of Starlette."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > BODY_BYTES_MAX:
        raise _too_large()
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            return await _collected(request)
    except TimeoutError:
        raise Refused(
            408, BODY_UNREAD, f"the body has not arrived in {BODY_SECONDS_MAX:g} seconds; send it again"
        ) from None


def text_of(body: bytes) -> str:
    """The body as text. Raises Refused."""
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Refused(
            400, MALFORMED, f"the body is not UTF-8: byte {error.start} cannot be read; send UTF-8, or base64 of bytes"
        ) from None


def payload_of(body: bytes, content_type: str) -> Payload:
    """The body as it is handed to a workflow: JSON verbatim, other text as text, and nothing as null.

    What is declared as JSON has to be JSON. Raises Refused, PayloadTooLarge.
    """
    if not body:
        return NOTHING
    text = text_of(body)
    payload = payloads.payload_of(text.strip(_BLANKS))
    if payload.encoding != JSON:
        if _declares_json(content_type):
            raise Refused(400, MALFORMED, "the body is declared as JSON and is none that can be read; mend it")
        payload = payloads.payload_of(text)
    if memoryview(payload.data).nbytes > PAYLOAD_BYTES_MAX:
        raise PayloadTooLarge(f"the body takes more than {PAYLOAD_BYTES_MAX:,} bytes as JSON; store it elsewhere")
    return payload


async def _collected(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > BODY_BYTES_MAX:
            raise _too_large()
        chunks.append(chunk)
    return b"".join(chunks)


def _declares_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _too_large() -> Refused:
    return Refused(
        413, BODY_UNREAD, f"the body is larger than {BODY_BYTES_MAX:,} bytes; store it elsewhere and pass its address"
    )
