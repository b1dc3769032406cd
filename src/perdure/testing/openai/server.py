"""Serves the fake model over HTTP, breaks what a test wants broken, and remembers who asked what."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from perdure.testing.openai import bodies
from perdure.testing.openai.answers import Answer, answer_by_prompt
from perdure.testing.openai.faults import Fault, Faults

MAX_BODY = 16 * 1024 * 1024
"""Bytes of a request that are read."""
MAX_SEEN = 100_000
"""Requests that are remembered; more are a test that does not end."""
MODELS = ("fake",)


@dataclass(frozen=True)
class Seen:
    """A request and what became of it; status 0 where its connection was dropped."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    status: int


class FakeOpenAI:
    """The server, on its own thread, from `with` to its end.

    `answering(request)` decides what the model says; where it returns None the prompt decides. `port` 0 takes a free
    one. The same over HTTP, for a server in another process: `GET /requests`, and `POST /faults` with the fields of
    `Fault` and `times`.
    """

    def __init__(
        self,
        answering: Callable[[dict[str, Any]], Answer | None] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        models: tuple[str, ...] = MODELS,
    ) -> None:
        self._answering = answering
        self._models = models
        self._faults = Faults()
        self._seen: list[Seen] = []
        self._lock = threading.Lock()  # because each connection has a thread
        self._number = 0
        self._server = _Server((host, port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> FakeOpenAI:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops listening, and waits for the thread."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def join(self) -> None:
        """Serves until it is closed."""
        self._thread.join()

    @property
    def url(self) -> str:
        """What a client takes as its base URL."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/v1"

    @property
    def requests(self) -> list[Seen]:
        """What was asked so far, in order of its end."""
        with self._lock:
            return list(self._seen)

    @property
    def chats(self) -> list[dict[str, Any]]:
        """The bodies of the chat requests that were answered."""
        return [each.body for each in self.requests if each.path == "/chat/completions" and each.status == 200]

    @property
    def asked(self) -> int:
        """How many requests to the model have come, those included that are under way."""
        return self._faults.met

    def fail(self, fault: Fault, times: int = 1) -> None:
        """The next `times` requests to the model meet this fault."""
        self._faults.add(fault, times)

    def forget(self) -> None:
        """Forgets the requests so far."""
        with self._lock:
            self._seen.clear()

    def __repr__(self) -> str:
        return f"<FakeOpenAI at {self.url}, {len(self._seen)} requests>"

    def decide(self, request: dict[str, Any]) -> tuple[Answer, int]:
        """The answer to a chat request and its number."""
        answer = self._answering(request) if self._answering is not None else None
        return answer or answer_by_prompt(request), self.count()

    def count(self) -> int:
        with self._lock:
            self._number += 1
            return self._number

    def next_fault(self) -> Fault:
        return self._faults.next()

    def remember(self, seen: Seen) -> None:
        with self._lock:
            if len(self._seen) < MAX_SEEN:
                self._seen.append(seen)

    def listed(self) -> dict[str, Any]:
        return bodies.models(self._models)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], model: FakeOpenAI) -> None:
        self.model = model
        super().__init__(address, _Visit)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing to say when a client has gone away in the middle of an answer."""


class _Dropped(Exception):
    """The connection shall end here."""


class _Visit(BaseHTTPRequestHandler):
    """One connection and the requests that come over it."""

    protocol_version = "HTTP/1.1"
    server: _Server
    _asking: tuple[str, dict[str, Any]] | None = None
    """The path and body of the request to the model that has no answer yet."""

    def log_message(self, format: str, *args: Any) -> None:
        """The requests are remembered instead."""

    def do_GET(self) -> None:
        match self._path():
            case "/models":
                self._send(200, self.server.model.listed())
            case "/requests":
                self._send(200, {"requests": [asdict(each) for each in self.server.model.requests]})
            case path:
                self._send(404, bodies.failure(404, f"there is nothing at {path}"))

    def do_POST(self) -> None:
        path, request = self._path(), self._body()
        if request is None:
            self._send(400, bodies.failure(400, f"the body is no JSON object of at most {MAX_BODY} bytes"))
        elif path == "/faults":
            self._fail(request)
        else:
            self._asking = path, request
            self._ask(path, request)

    def _fail(self, request: dict[str, Any]) -> None:
        try:
            times = int(request.pop("times", 1))
            fault = Fault(**request)
        except (TypeError, ValueError) as error:
            self._send(400, bodies.failure(400, f"that is no fault: {error}"))
        else:
            self.server.model.fail(fault, times)
            self._send(200, {})

    def _ask(self, path: str, request: dict[str, Any]) -> None:
        fault = self.server.model.next_fault()
        time.sleep(fault.latency)
        if fault.drop:
            self._drop()
        elif fault.status is not None:
            headers = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
            self._send(fault.status, bodies.failure(fault.status, "a test asked for this"), headers)
        else:
            try:
                self._answer(path, request, fault)
            except ValueError as error:
                self._send(400, bodies.failure(400, str(error)))
            except _Dropped:
                self._drop()
            except OSError:
                raise  # because that is a client that has gone away
            except Exception as error:  # noqa: BLE001 because a test's own function may raise anything, and wants to know
                self._send(400, bodies.failure(400, f"there is no answer to this: {type(error).__name__}: {error}"))

    def _answer(self, path: str, request: dict[str, Any], fault: Fault) -> None:
        model = self.server.model
        match path:
            case "/chat/completions":
                answer, number = model.decide(request)
                if request.get("stream"):
                    self._stream(bodies.chunks(request, answer, number), fault)
                else:
                    self._send(200, bodies.completion(request, answer, number))
            case "/completions":
                self._send(200, bodies.plain_completion(request, model.count()))
            case "/embeddings":
                self._send(200, bodies.embeddings(request))
            case _:
                self._send(404, bodies.failure(404, f"there is nothing at {path}"))

    def _remember(self, status: int) -> None:
        """Before the end of the answer, so that whoever has it finds its request remembered."""
        if self._asking is not None:
            path, request = self._asking
            self._asking = None
            self.server.model.remember(Seen(path, request, dict(self.headers.items()), status))

    def _path(self) -> str:
        return self.path.partition("?")[0].removeprefix("/v1")

    def _body(self) -> dict[str, Any] | None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY:
            self.close_connection = True
            return None
        try:
            body = json.loads(self.rfile.read(length) or b"{}")
        except ValueError:
            return None
        return body if isinstance(body, dict) else None

    def _send(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self._remember(status)
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, events: Iterator[dict[str, Any]], fault: Fault) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at, event in enumerate(events):
            if at == fault.drop_after:
                raise _Dropped
            self._chunk(f"data: {json.dumps(event)}\n\n")
        self._remember(200)
        self._chunk("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _drop(self) -> None:
        self._remember(0)
        self.close_connection = True
