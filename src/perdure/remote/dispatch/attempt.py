"""An attempt of an activity that a remote worker makes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from perdure.codec import Payload
from perdure.errors import PerdureError
from perdure.history.work import Attempt, Outcome, Outlet, Stall
from perdure.remote.dispatch.steps import workflow_of
from perdure.remote.dispatch.verdict import UNFORESEEN, too_large
from perdure.remote.dispatch.work import Kind, Need, Peer, Work
from perdure.remote.requests import ActivityItem, ActivityResult
from perdure.remote.wire.execution import wire_execution

log = logging.getLogger("perdure")


class AttemptWork(Work):
    """An attempt of an activity for a worker. `ended` is what the engine waits for."""

    __slots__ = ("_begun", "_open_outlet", "_outlet", "_was_out", "attempt", "beat", "ended", "lineage")

    def __init__(
        self, app: str, attempt: Attempt, beat: Callable[[Payload | None], None], outlet: Callable[[], Outlet]
    ) -> None:
        label = attempt.label
        version = (label.version or label.run_version) if label is not None else None
        need = Need(
            attempt.target or app, Kind.ACTIVITY, attempt.name, version or "", workflow=workflow_of(attempt.label)
        )
        super().__init__(need, attempt.instance, attempt.number)
        self.attempt = attempt
        self.beat = beat
        self.lineage: bytes | None = None
        self._open_outlet = outlet
        self._outlet: Outlet | None = None
        self._begun: asyncio.Task[None] | None = None
        self._was_out = False
        self.ended: asyncio.Future[Outcome | Stall | None] = asyncio.get_running_loop().create_future()

    def new_token(self, token: Callable[[], str]) -> str:
        """It names the call, because any node may be told of the attempt's end."""
        work = self.attempt
        return f"{work.execution}.{work.generation}.{work.number}.{work.attempt}.{token()[:8]}.{work.app}"

    def item(self, peer: Peer) -> bytes | None:
        work, label = self.attempt, self.attempt.label
        if not peer.is_relay:  # because the silence of another server's worker is heard there
            self._was_out = True
            self.beat(None)  # because what it waited before is no silence of the worker's
        try:
            item = peer.codec.activity_item(
                ActivityItem(
                    instance=work.instance,
                    execution=wire_execution(work.execution, work.generation),
                    number=work.number,
                    name=work.name,
                    token=self.token,
                    input=work.input,
                    version=label.version if label is not None else None,
                    tags=label.tags if label is not None else None,
                    key=(label.key if label is not None else None) or work.key,
                    trace=label.trace if label is not None else None,
                    app=work.app,
                    attempt=work,
                    lineage=self.lineage,
                )
            )
        except PerdureError as error:
            self.end(Stall("payload-not-decodable", str(error)))
            return None
        if len(item) > peer.item_bytes_max:
            self.end(too_large(len(item), peer.item_bytes_max))
            return None
        return item

    async def fresh_outlet(self) -> Outlet:
        """Where the items go of who begins to yield now: after those that were taken from whoever had the attempt
        before. Raises what stands against it."""
        self._begin_outlet(self._outlet)
        return await self.begun_outlet()

    async def begun_outlet(self) -> Outlet:
        """Where its items go, whichever worker yields them. Raises what stands against them."""
        outlet, begun = self._outlet, self._begun
        if outlet is None or begun is None:
            outlet, begun = self._begin_outlet(None)
        await asyncio.shield(begun)
        return outlet

    def _begin_outlet(self, before: Outlet | None) -> tuple[Outlet, asyncio.Task[None]]:
        outlet = self._outlet = self._open_outlet()
        begun = self._begun = asyncio.get_running_loop().create_task(_succeed(before, outlet))
        return outlet, begun

    def close_outlet(self) -> None:
        """No more items."""
        if self._outlet is not None:
            self._outlet.close()

    def still_waits(self) -> None:
        if self._was_out:
            self.beat(None)  # because nobody has it who could be silent

    def fail(self) -> None:
        self.end(UNFORESEEN)

    def convict(self, stall: Stall) -> None:
        self.end(stall)

    @property
    def told_key(self) -> str | None:
        """The idempotency key that the SDK gave with the call, which its own history repeats."""
        return self.attempt.label.key if self.attempt.label is not None else None

    @property
    def call(self) -> tuple[str, str, int, int, int]:
        """Which attempt it is: app, execution, generation, number of the call, and of the attempt."""
        work = self.attempt
        return work.app, work.execution, work.generation, work.number, work.attempt

    def end(self, outcome: Outcome | Stall | None) -> None:
        """Let the engine go on. None: it hears by mail."""
        if not self.ended.done():
            self.ended.set_result(outcome)


async def _succeed(before: Outlet | None, outlet: Outlet) -> None:
    """Begin where the one before has stopped."""
    if before is not None:
        try:
            await before.flush()
        except PerdureError as error:
            log.info("items of an attempt that another worker has now were not taken: %s", error)
        before.close()
    await outlet.begin()


def outcome_of(result: ActivityResult) -> Outcome | Stall:
    """How an attempt ended, as the engine has it."""
    if result.stall is not None:
        return result.stall
    return Outcome(result.result, result.failure, result.timed_out, result.guarantee, messages=result.messages)
