"""A receiver of webhooks: a real HTTP server that can fail, be slow, hang up, and remembers what it took."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Behaviour = Callable[[int, dict[str, Any]], int | None]
"""The status of the answer to a request, by its number from 1 and its event; None hangs up without one."""


class Receiver:
    def __init__(self, behaves: Behaviour | None = None) -> None:
        self.taken: list[dict[str, Any]] = []
        """Events that were answered with 2xx, in order."""
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.behaves: Behaviour = behaves or (lambda number, event: 204)
        self._lock = threading.Lock()
        self.url = ""

    def kinds(self, instance: str) -> list[str]:
        """What was told of an instance, without repetitions."""
        seen = {event["id"]: event["type"].rpartition(".")[2] for event in self.taken if event["subject"] == instance}
        return list(seen.values())

    def take(self, headers: dict[str, str], body: bytes) -> int | None:
        event = json.loads(body)
        with self._lock:
            self.requests.append((headers, body))
            number = len(self.requests)
        status = self.behaves(number, event)
        if status is not None and 200 <= status < 300:
            with self._lock:
                self.taken.append(event)
        return status


@contextmanager
def receiving(behaves: Behaviour | None = None) -> Iterator[Receiver]:
    receiver = Receiver(behaves)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = receiver.take({name.lower(): value for name, value in self.headers.items()}, body)
            if status is None:
                self.close_connection = True
                self.connection.close()
                return
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Not a line for each request."""

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A connection that was closed on purpose."""

    server = Server(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
