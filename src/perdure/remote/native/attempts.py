"""The attempts that a worker makes: each once, however often its server hands it out, and its answer until it is heard.

A server that lost its stream, or was started again, hands out what was not answered. The attempt may be under way here
still, or have ended; then it goes on, or its answer is given, under the new token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from perdure.codec import Payload
from perdure.engine.ports import Executor
from perdure.history.events import Failure
from perdure.history.work import Attempt, Outcome, Outlet, Stall
from perdure.remote.native.codec import AttemptItem
from perdure.remote.requests import ActivityResult

Key = tuple[str, str, int, int, int]
Answer = Callable[["Making", ActivityResult], None]


class Making:
    """One attempt, under way or ended. `token` is the newest under which it is out.

    `is_overtaken`: another worker had it meanwhile and has yielded, so that it is to be made again behind that.
    """

    __slots__ = ("attempt", "is_overtaken", "is_unwanted", "result", "session", "task", "token")

    def __init__(self, attempt: Attempt, token: str) -> None:
        self.attempt = attempt
        self.token = token
        self.session = 0
        self.task: asyncio.Task[None] | None = None
        self.result: ActivityResult | None = None
        self.is_unwanted = False
        self.is_overtaken = False

    def overtake(self) -> None:
        self.is_overtaken = True


class WorkerAttempts:
    """Makes attempts. `answer` is called with each result, and again when it is asked for again.

    `beat` takes a token and details from any thread. `outlet` gives the place for what an attempt yields; it is told
    who knows the attempt's token, and whom to tell that it is overtaken.
    """

    def __init__(
        self,
        executor: Executor,
        answer: Answer,
        beat: Callable[[str, Payload | None], None],
        outlet: Callable[[Callable[[], str], Callable[[], None]], Outlet],
    ) -> None:
        self._executor = executor
        self._answer = answer
        self._beat = beat
        self._outlet = outlet
        self._session = 0
        self._made: dict[Key, Making] = {}
        self._by_token: dict[str, Making] = {}

    def take(self, item: AttemptItem) -> None:
        """Begin an attempt, or go on with it under its new token."""
        key = _key(item.attempt)
        making = self._made.get(key)
        if making is None:
            making = self._made[key] = Making(item.attempt, item.token)
            making.task = asyncio.get_running_loop().create_task(self._make(making))
        else:
            self._by_token.pop(making.token, None)
            making.token = item.token
        self._by_token[item.token] = making
        making.session = self._session
        if making.result is not None:
            self._tell(making, making.result)

    def begin_session(self) -> None:
        """The stream of work begins anew: the server may not know the tokens that it gave before."""
        self._session += 1

    def is_known(self, token: str) -> bool:
        """Whether the server has given the token over the stream that there is now."""
        making = self._by_token.get(token)
        return making is not None and making.session == self._session

    def cancel(self, token: str) -> None:
        """Nobody wants the answer."""
        making = self._by_token.get(token)
        if making is None:
            return
        making.is_unwanted = True
        self.heard(making)
        if making.task is not None:
            making.task.cancel()

    def heard(self, making: Making) -> None:
        """The server has the answer, or wants none."""
        self._made.pop(_key(making.attempt), None)
        self._by_token.pop(making.token, None)

    def running(self) -> list[str]:
        """The tokens of those that are under way."""
        return [making.token for making in self._made.values() if making.result is None]

    def unheard(self) -> list[Making]:
        """Those that have ended and whose answer the server has not heard."""
        return [making for making in self._made.values() if making.result is not None]

    async def drain(self, seconds: float) -> None:
        """Give those under way some time to end, then cancel them: another worker makes them again."""
        tasks = self._tasks()
        if tasks and seconds > 0:
            await asyncio.wait(tasks, timeout=seconds)
        left = self._tasks()
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=max(seconds, 1.0))

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [making.task for making in self._made.values() if making.task is not None and not making.task.done()]

    async def _make(self, making: Making) -> None:
        try:
            outcome = await self._made_once(making)
            while making.is_overtaken and not making.is_unwanted:
                making.is_overtaken = False
                outcome = await self._made_once(making)
        except asyncio.CancelledError:
            return
        making.task = None
        if not making.is_unwanted:
            making.result = _result(making.attempt, outcome)
            self._tell(making, making.result)

    async def _made_once(self, making: Making) -> Outcome | Stall:
        try:
            outcome = await self._executor.attempt(
                making.attempt,
                lambda details: self._beat(making.token, details),
                lambda: self._outlet(lambda: making.token, making.overtake),
            )
        except Exception as error:  # noqa: BLE001 because a call whose attempt has no outcome would stay open for ever
            return Outcome(failure=Failure(type=type(error).__name__, message=str(error)))
        assert outcome is not None
        return outcome

    def _tell(self, making: Making, result: ActivityResult) -> None:
        self._answer(making, result)

    def __repr__(self) -> str:
        return f"<WorkerAttempts: {len(self.running())} under way, {len(self.unheard())} not heard>"


def _key(attempt: Attempt) -> Key:
    return attempt.instance, attempt.execution, attempt.generation, attempt.number, attempt.attempt


def _result(attempt: Attempt, outcome: Outcome | Stall) -> ActivityResult:
    given: dict[str, Any] = {"instance": attempt.instance, "number": attempt.number}
    if isinstance(outcome, Stall):
        return ActivityResult(**given, stall=outcome)
    return ActivityResult(
        **given,
        result=outcome.result,
        failure=outcome.failure,
        timed_out=outcome.timed_out,
        guarantee=outcome.guarantee,
        messages=outcome.messages,
    )
