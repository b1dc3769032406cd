"""One event on its way to a webhook: what becomes of answers that are slow, wrong, or none at all."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from perdure import Webhook
from perdure.engine.herald import NotHeard
from perdure.remote.webhook import WebhookReceiver
from tests.engine.receivers import Receiver, receiving

EVENT = b'{"id":"e1.1.started","subject":"a","type":"perdure.workflow.started"}'


@pytest.fixture(autouse=True)
def of_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Because each thread keeps a connection of its own, and which of several is free is the machine's to say."""
    monkeypatch.setattr("perdure.remote.webhook.SENDS_MAX", 1)


def told(receiver: Receiver, times: int = 1, **options: Any) -> list[NotHeard | None]:
    async def play() -> list[NotHeard | None]:
        sender = WebhookReceiver(Webhook(receiver.url, **options))
        answers: list[NotHeard | None] = []
        for _ in range(times):
            try:
                await sender.tell(EVENT)
                answers.append(None)
            except NotHeard as error:
                answers.append(error)
        await sender.close()
        return answers

    return asyncio.run(play())


def test_any_2xx_is_heard_and_nothing_else() -> None:
    statuses = [200, 202, 204, 301, 404, 500]
    with receiving(lambda number, event: statuses[number - 1]) as receiver:
        answers = told(receiver, len(statuses))
    assert [answer is None for answer in answers] == [True, True, True, False, False, False]
    assert "404" in str(answers[4])
    assert len(receiver.requests) == len(statuses)  # because a redirection is not followed


def test_a_slow_answer_is_none() -> None:
    with receiving(lambda number, event: time.sleep(0.5) or 200) as receiver:
        (answer,) = told(receiver, timeout=0.05)
    assert isinstance(answer, NotHeard)


@contextmanager
def dripping(*said: bytes) -> Iterator[Receiver]:
    """A receiver that answers each request with these pieces, one every 0.05 s, on connections that it keeps."""
    ends = threading.Event()
    receiver = Receiver()

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                while connection.recv(65_536) and not ends.is_set():
                    for piece in said:
                        connection.sendall(piece)
                        ends.wait(0.05)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        receiver.url = f"http://127.0.0.1:{listening.getsockname()[1]}/hook"
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            ends.set()
            listening.shutdown(socket.SHUT_RDWR)
    thread.join(10)


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
ENDLESS = b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n"


def test_an_answer_that_comes_in_drops_is_none_after_the_timeout() -> None:
    with dripping(*[bytes([byte]) for byte in OK * 10]) as receiver:
        began = time.monotonic()
        first, second = told(receiver, 2, timeout=0.2)
    assert time.monotonic() - began < 2
    assert "has not answered within 0.2 s" in str(first)
    assert isinstance(second, NotHeard)


def test_an_answer_is_heard_by_its_status_however_slowly_the_rest_comes() -> None:
    with dripping(ENDLESS, *[b"x"] * 200) as receiver:
        began = time.monotonic()
        assert told(receiver, 2, timeout=0.2) == [None, None]
    assert time.monotonic() - began < 2


def test_a_connection_that_was_closed_meanwhile_is_made_again() -> None:
    with receiving(lambda number, event: None if number == 2 else 200) as receiver:
        assert told(receiver, 3) == [None, None, None]


def test_where_nobody_listens_nothing_is_heard() -> None:
    receiver = Receiver()
    receiver.url = "http://127.0.0.1:9/hook"
    (answer,) = told(receiver)
    assert "cannot be reached" in str(answer)


@pytest.mark.parametrize("secret", [None, "a secret of more than 16 bytes"])
def test_only_what_has_a_secret_is_signed(secret: str | None) -> None:
    with receiving() as receiver:
        assert told(receiver, secret=secret) == [None]
    ((headers, body),) = receiver.requests
    assert ("webhook-signature" in headers) is (secret is not None)
    assert (headers["webhook-id"], body) == ("e1.1.started", EVENT)
    assert "secret" not in repr(Webhook(receiver.url, secret))
