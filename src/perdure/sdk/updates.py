"""Updates of one run: who answers which request, what came before anybody did, and what is not answered yet."""

from __future__ import annotations

import contextvars
import inspect
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from perdure.codec import NOTHING, Payload, decode
from perdure.errors import AlreadyRegistered
from perdure.history.actions import AnswerUpdate
from perdure.history.events import Failure, UpdateRequested
from perdure.sdk.failures import to_failure
from perdure.sdk.leaving import ContinueAsNew
from perdure.sdk.loop import Loop


class Handler(msgspec.Struct, frozen=True):
    """How a run answers the updates of one name. `data_type` is what the request's data is read as."""

    name: str
    function: Callable[[Any], Any]
    validator: Callable[[Any], Any] | None
    data_type: Any


class Answering(Protocol):
    """What updates ask of their run."""

    @property
    def is_over(self) -> bool: ...
    def encode(self, value: Any) -> Payload: ...
    def decode(self, payload: Payload | None, expected: Any) -> Any: ...
    def answer_update(self, answer: AnswerUpdate) -> None: ...
    def ask_sealed(self, question: Callable[[Any], Any], data: Any) -> None: ...
    def was_refused(self, key: str) -> bool | None: ...


class Updates:
    """Each request goes to the handler of its name, at once or as soon as there is one."""

    __slots__ = ("_early", "_handlers", "_loop", "_open", "_run")

    def __init__(self, run: Answering, loop: Loop) -> None:
        self._run = run
        self._loop = loop
        self._handlers: dict[str, Handler] = {}
        self._early: dict[str, deque[UpdateRequested]] = {}
        self._open: dict[str, UpdateRequested] = {}

    def handle(self, handler: Handler) -> None:
        """Answer the requests of this name, those that came early first. Raises AlreadyRegistered."""
        if handler.name in self._handlers:
            raise AlreadyRegistered(f"this run has a handler for updates {handler.name!r} already; give one of them up")
        self._handlers[handler.name] = handler
        for request in self._early.pop(handler.name, ()):
            self._begin(handler, request)

    def arrive(self, request: UpdateRequested) -> None:
        handler = self._handlers.get(request.name) if not self._run.is_over else None
        self._open[request.key] = request
        if handler is None:
            self._early.setdefault(request.name, deque()).append(request)
        else:
            self._begin(handler, request)

    def unanswered(self) -> list[UpdateRequested]:
        """The requests that nobody has answered, oldest first."""
        return list(self._open.values())

    def _begin(self, handler: Handler, request: UpdateRequested) -> None:
        refused = self._run.was_refused(request.key)
        if refused:
            self._answer(request, refused=True)
            return
        try:
            # by the run where it was taken before, because what cannot be read now must not look as if it was refused
            data = (decode if refused is None else self._run.decode)(request.data, handler.data_type)
            if refused is None and handler.validator is not None:
                self._run.ask_sealed(handler.validator, data)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 because whatever the validator raises is its refusal
            self._answer(request, failure=to_failure(error), refused=True)
            return
        # because the handler must not see, nor replay differently by, what the sender's context holds
        context = contextvars.Context()
        work = self._run_handler(handler, request, data)
        self._loop.create_task(work, name=f"update {request.name}", context=context)

    async def _run_handler(self, handler: Handler, request: UpdateRequested, data: Any) -> None:
        try:
            value = handler.function(data)
            if inspect.isawaitable(value):
                value = await value
            result = self._run.encode(value)
        except ContinueAsNew:
            self._answer(request, result=NOTHING)  # because the next run would do it again, and so would each after it
            raise
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 because it is the answer, as is the end of a task that it awaited
            self._answer_in_time(request, failure=to_failure(error))
        else:
            self._answer_in_time(request, result=result)

    def _answer_in_time(
        self, request: UpdateRequested, *, result: Payload | None = None, failure: Failure | None = None
    ) -> None:
        """Answer unless the run is over, because its end has nothing of what the handler has done since."""
        if not self._run.is_over:
            self._answer(request, result=result, failure=failure)

    def _answer(
        self,
        request: UpdateRequested,
        *,
        result: Payload | None = None,
        failure: Failure | None = None,
        refused: bool = False,
    ) -> None:
        self._open.pop(request.key, None)
        self._run.answer_update(AnswerUpdate(key=request.key, result=result, failure=failure, refused=refused))
