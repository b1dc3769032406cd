"""A program of Dapr that events may end: `python poison_program.py PORT LEDGER`; it listens for HTTP on the port."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

port, ledger = int(sys.argv[1]), sys.argv[2]
SUBSCRIPTIONS = [
    {"pubsubname": "bus", "topic": "orders", "route": "/orders", "deadLetterTopic": "letters"},
    {"pubsubname": "bus", "topic": "letters", "route": "/letters"},
]
lock = threading.Lock()


def note(word: str, what: str) -> None:
    with lock, open(ledger, "a", encoding="utf-8") as file:
        file.write(f"{word} {what}\n")


class Program(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(json.dumps(SUBSCRIPTIONS).encode())

    def do_POST(self) -> None:
        event = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/letters":
            note("letter", event["deadletterreason"])
            return self.answer(b"")
        time.sleep(0.2)
        if event["data"] == "killer":
            note("died", "killer")
            os._exit(9)
        time.sleep(0.2)
        note("handled", event["data"])
        return self.answer(b"")

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Not a line for each request."""


ThreadingHTTPServer(("127.0.0.1", port), Program).serve_forever()
