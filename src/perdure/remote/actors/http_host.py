"""Actors of a program that listens on a port of its own, which it serves with one of Dapr's extensions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from urllib.parse import quote

import msgspec
from msgspec import Raw

from perdure.errors import InvalidArgument
from perdure.remote.actors.host import Answer, Host, HostGone, Hosting, Invocation, read_config
from perdure.remote.app_channel import AppAbsent, AppAnswer, AppChannel, AppUnreachable

log = logging.getLogger("perdure")
LOOK_SECONDS = 1.0
"""How often the program is asked which actors it hosts, and so whether it is there."""
LOOK_ANSWER_SECONDS = 5.0
MISSES_MAX = 3
"""Looks in a row without an answer after which the program counts as gone; one that refuses a request is at once."""
ERROR_CHARACTERS_MAX = 4_000
REENTRANCY_HEADER = "dapr-reentrancy-id"
CANCEL_HEADER = "x-daprremindercancel"
_JSON = {"content-type": "application/json"}


class HttpHost:
    """Fulfils Host over the program's own port."""

    def __init__(self, channel: AppChannel, types: Mapping[str, Hosting], gone: Callable[[], None]) -> None:
        self.types = types
        self._channel = channel
        self._gone = gone

    async def invoke(self, asked: Invocation) -> Answer:
        """Raises HostGone."""
        method, path, body = request_of(asked)
        headers = {**_JSON, REENTRANCY_HEADER: asked.token} if asked.token else _JSON
        try:
            answer = await self._channel.request(method, path, body, headers)
        except AppUnreachable as error:
            self._gone()
            raise HostGone(str(error), was_asked=not isinstance(error, AppAbsent)) from error
        return answer_of(asked, answer)

    def __repr__(self) -> str:
        return f"<HttpHost of {', '.join(self.types)} at {self._channel.url}>"


def request_of(asked: Invocation) -> tuple[str, str, bytes]:
    """Method, path and body of the request by which a program is asked."""
    base = f"/actors/{quote(asked.type, safe='')}/{quote(asked.id, safe='')}"
    name = quote(asked.name, safe="")
    match asked.kind:
        case "deactivate":
            return "DELETE", base, b""
        case "remind":
            body = {"data": Raw(asked.data), "dueTime": asked.due_time, "period": asked.period}
            return "PUT", f"{base}/method/remind/{name}", msgspec.json.encode(body)
        case "timer":
            body = {
                "callback": asked.callback,
                "data": Raw(asked.data),
                "dueTime": asked.due_time,
                "period": asked.period,
            }
            return "PUT", f"{base}/method/timer/{name}", msgspec.json.encode(body)
        case _:
            return "PUT", f"{base}/method/{name}", asked.data


def answer_of(asked: Invocation, answer: AppAnswer) -> Answer:
    """What a program's answer says."""
    if answer.is_success:
        cancels = asked.kind == "remind" and answer.headers.get(CANCEL_HEADER, "").lower() == "true"
        return Answer(answer.body, cancels=cancels)
    if answer.status == 404:
        return Answer(error=f"the program has no {asked.kind} {asked.name!r} of actors {asked.type}")
    return Answer(error=answer.body.decode("utf-8", "replace")[:ERROR_CHARACTERS_MAX] or f"status {answer.status}")


class Looking:
    """Looks whether the program is there and which actors it hosts, and tells when that changes."""

    def __init__(self, channel: AppChannel, came: Callable[[Host], None], went: Callable[[Host], None]) -> None:
        self._channel = channel
        self._came = came
        self._went = went
        self._host: HttpHost | None = None
        self._misses = 0
        self._told = ""
        self._task = asyncio.get_running_loop().create_task(self._look_on(), name="perdure-actor-host")

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})
        await self._channel.close()

    async def _look_on(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        try:
            answer = await self._channel.request("GET", "/dapr/config", timeout=LOOK_ANSWER_SECONDS)
            types = read_config(answer.body) if answer.is_success else {}
            self._misses = 0
        except AppUnreachable as error:
            self._misses += 1
            if isinstance(error, AppAbsent) or self._misses >= MISSES_MAX:
                self._is_now({})
            return
        except InvalidArgument as error:
            types = {}
            self._tell(str(error))
        self._is_now(types)

    def _is_now(self, types: Mapping[str, Hosting]) -> None:
        if self._host is not None and self._host.types != types:
            host, self._host = self._host, None
            self._went(host)
        if self._host is None and types:
            self._host = HttpHost(self._channel, types, lambda: self._is_now({}))
            self._came(self._host)

    def _tell(self, sentence: str) -> None:
        if sentence != self._told:
            self._told = sentence
            log.warning("no actors of the program at %s: %s", self._channel.url, sentence)
