"""Events on their way to a webhook: a signed POST each, over connections that are kept."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import http.client
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import msgspec

from perdure.engine.herald import SENDS_MAX, NotHeard
from perdure.sdk.webhooks import Webhook

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
ANSWER_BYTES_MAX = 65_536
"""What is read of an answer, so that its connection can be used again; a longer one costs the connection."""
RETRY_AFTER_SECONDS_MAX = 3_600.0
"""The longest pause that an answer may ask for."""


class WebhookReceiver:
    """Fulfils the herald's receiver."""

    def __init__(self, webhook: Webhook) -> None:
        self.attempts = webhook.attempts
        self._webhook = webhook
        self._threads = ThreadPoolExecutor(SENDS_MAX, thread_name_prefix="perdure-webhook")
        self._local = threading.local()
        self._open: set[http.client.HTTPConnection] = set()

    async def tell(self, event: bytes) -> None:
        """Returns once the receiver has answered with 2xx. Raises NotHeard."""
        loop, sending = asyncio.get_running_loop(), _Sending()
        # a bound for all of it beside the one that a socket has for each piece, because an answer may come in drops
        bound = loop.call_later(self._webhook.timeout, sending.cut)
        try:
            await loop.run_in_executor(self._threads, self._post, event, sending)
        finally:
            bound.cancel()

    async def close(self) -> None:
        for connection in list(self._open):
            _cut(connection)
            connection.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _post(self, event: bytes, sending: _Sending) -> None:
        headers = signed_headers(event, self._webhook.key, int(time.time()))
        is_kept = getattr(self._local, "connection", None) is not None
        try:
            self._send(event, headers, sending)
        except (http.client.HTTPException, OSError) as error:
            self._drop()
            if not is_kept or sending.is_cut or isinstance(error, TimeoutError):
                raise self._not_heard(error, sending) from error
        else:
            return
        try:
            self._send(event, headers, sending)  # because a connection that rests may have been closed at the other end
        except (http.client.HTTPException, OSError) as error:
            self._drop()
            raise self._not_heard(error, sending) from error

    def _not_heard(self, error: Exception, sending: _Sending) -> NotHeard:
        if sending.is_cut:
            return NotHeard(f"{self._webhook!r} has not answered within {self._webhook.timeout:g} s")
        return NotHeard(f"{self._webhook!r} cannot be reached: {error!r}")

    def _send(self, event: bytes, headers: dict[str, str], sending: _Sending) -> None:
        parts = urlsplit(self._webhook.url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection = sending.connection = self._connection()
        connection.request("POST", path, event, headers)
        answer = connection.getresponse()
        if not self._is_read(answer):
            self._drop()
        if not 200 <= answer.status < 300:
            again = _seconds(answer.headers.get("retry-after"))
            raise NotHeard(f"{self._webhook!r} answers {answer.status} {answer.reason}", again)

    def _is_read(self, answer: http.client.HTTPResponse) -> bool:
        """Whether nothing of the answer is left, so that its connection can be used again. Its status is known by then,
        whatever becomes of the rest."""
        try:
            answer.read(ANSWER_BYTES_MAX)
        except (http.client.HTTPException, OSError):
            return False
        return answer.isclosed() and not answer.will_close

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            parts = urlsplit(self._webhook.url)
            assert parts.hostname is not None, "an address of a webhook names its host"
            timeout = self._webhook.timeout
            if parts.scheme == "https":
                context = ssl.create_default_context()
                connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout, context=context)
            else:
                connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
            self._local.connection = connection
            self._open.add(connection)
        return connection

    def _drop(self) -> None:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        self._local.connection = None
        if connection is not None:
            connection.close()
            self._open.discard(connection)

    def __repr__(self) -> str:
        return repr(self._webhook)


class _Sending:
    """One event on its way, which the event loop may end while a thread waits for the answer."""

    def __init__(self) -> None:
        self.connection: http.client.HTTPConnection | None = None
        self.is_cut = False

    def cut(self) -> None:
        self.is_cut = True
        if self.connection is not None:
            _cut(self.connection)


def _cut(connection: http.client.HTTPConnection) -> None:
    """End a connection under whoever waits for it: what only closes it leaves them waiting."""
    found: socket.socket | None = connection.sock
    if found is not None:
        with contextlib.suppress(OSError):  # because it may have ended by itself
            # not the method of a TLS connection, which would take it to pieces under its reader
            socket.socket.shutdown(found, socket.SHUT_RDWR)


class _Id(msgspec.Struct, frozen=True):
    id: str = ""


def signed_headers(event: bytes, key: bytes | None, now: int) -> dict[str, str]:
    """The headers of a request: what it brings, the event's id, when it was sent, and the signature over all that."""
    id = msgspec.json.decode(event, type=_Id).id
    headers = {
        "content-type": CONTENT_TYPE,
        "user-agent": "perdure",
        "webhook-id": id,
        "webhook-timestamp": str(now),
    }
    if key is not None:
        headers["webhook-signature"] = f"v1,{signature(event, key, id, now)}"
    return headers


def signature(event: bytes, key: bytes, id: str, at: int) -> str:
    """HMAC-SHA256 in base64, as Standard Webhooks makes it."""
    signed = f"{id}.{at}.".encode() + event
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def _seconds(text: str | None) -> float | None:
    """What an answer says of when to come again, if in seconds."""
    return min(float(text), RETRY_AFTER_SECONDS_MAX) if text is not None and text.isdecimal() else None
