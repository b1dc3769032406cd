"""Runs of an app whose code is with remote workers: the engine's executor, by way of a dispatcher."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from perdure.codec import Payload
from perdure.history.delivery import Shutter
from perdure.history.options import Limits
from perdure.history.state import Standing
from perdure.history.work import Attempt, Batch, BatchResult, Identity, Outcome, Outlet, Stall
from perdure.remote.actors.actors import AppActors
from perdure.remote.actors.host import is_actor
from perdure.remote.actors.turn import Turn
from perdure.remote.dispatch.attempt import AttemptWork
from perdure.remote.dispatch.batch import BatchWork
from perdure.remote.dispatch.dispatcher import Dispatcher
from perdure.remote.dispatch.run import Lineage, RemoteRun
from perdure.remote.dispatch.steps import workflow_awaiting
from perdure.remote.dispatch.work import Kind, Need
from perdure.stores.contract import ENTITY, Head, Wait


class RemoteExecutor:
    """The engine's executor for one app whose code is with workers that connect."""

    is_remote = True
    gate = Shutter

    def __init__(
        self,
        app: str,
        dispatcher: Dispatcher,
        now: Callable[[], int] | None = None,
        lineage: Lineage | None = None,
        actors: AppActors | None = None,
    ) -> None:
        self.is_ready = False
        self._app = app
        self._dispatcher = dispatcher
        self._now = now
        self._lineage = lineage
        self._actors = actors

    def fingerprint(self, name: str, version: str | None) -> str | None:
        """Nobody here knows the code; who connects may have other code than before."""
        return None

    def queues(self) -> Mapping[str, Limits]:
        """Limits come with each call."""
        return {}

    def place(self, name: str, version: str | None) -> None:
        """It comes with each start, as workers do not tell it."""

    def workflows(self) -> Collection[str]:
        """Those that workers say they have."""
        return self._dispatcher.workflows(self._app)

    def activities(self) -> Collection[str]:
        """Those that workers say they have; and, while one is there that does not say, all that were called here."""
        return self._dispatcher.activities(self._app)

    def room(self) -> int:
        """For how many attempts more the workers that are connected have room."""
        return self._dispatcher.room(self._app)

    def open(self, identity: Identity, is_new: bool) -> RemoteRun | Stall:
        """A run as far as the server knows it: its history."""
        return RemoteRun(identity, self._dispatcher, self._now, self._lineage)

    async def attempt(
        self, work: Attempt, beat: Callable[[Payload | None], None], outlet: Callable[[], Outlet]
    ) -> Outcome | Stall | None:
        """Have a worker run the attempt; None once its result lies in the run's mailbox."""
        attempt = AttemptWork(self._app, work, beat, outlet)
        scope = work.label.propagation if work.label is not None else None
        if scope and self._lineage is not None:
            attempt.lineage = await self._lineage(work.app, work.instance, work.number, scope)
        self._dispatcher.submit(attempt)
        try:
            return await attempt.ended
        finally:
            attempt.close_outlet()
            self._dispatcher.withdraw(attempt, tells=attempt.ended.cancelled())

    def operate(self, batch: Batch, done: Callable[[BatchResult | Stall], None]) -> BatchWork | Turn:
        """Have a worker run the batch, or the program that hosts the actor."""
        if self._actors is not None and is_actor(batch.name):
            return self._actors.operate(batch, done)
        work = BatchWork(batch, done, self._dispatcher)
        self._dispatcher.submit(work)
        return work

    def standing(self, head: Head, wait: Wait | None) -> Standing:
        """Where an activity or a turn is: with a worker, in line for one, or nowhere as there is none for it."""
        version = head.version or ""
        if self._actors is not None and is_actor(head.name):
            return self._actors.standing(head.id)
        if wait is not None:
            need = Need(wait.on or head.app, Kind.ACTIVITY, wait.name, workflow=workflow_awaiting(wait))
        else:
            need = Need(head.app, Kind.ENTITY if head.kind == ENTITY else Kind.TURN, head.name, version)
        return self._dispatcher.standing(need, head.id, wait.number if wait is not None else 0)

    async def rest(self, seconds: float) -> None:
        """Whatever a worker has not answered stays in the store, so there is nothing to wait for."""
