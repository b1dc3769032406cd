"""Steps that happen once: the caller's own statements in one transaction with the mail that holds their result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from perdure.actors.host import Host
from perdure.clock import Clock
from perdure.engine.attempts import Running
from perdure.engine.reports import kept, report
from perdure.errors import StoreError
from perdure.history.events import Failure
from perdure.history.work import Outcome, Stall
from perdure.stores import contract
from perdure.stores.contract import EngineStore, Lease, Mail, Transactions

AGAIN_SECONDS = 0.5
"""After which a step is tried again that the store did not take; if it has happened, the try finds that out."""
UNSUPPORTED = Failure(
    type="StoreNotUsable",
    message="this store has no transactions of yours to join: a transaction step needs a SQL store",
    non_retryable=True,
)


class Transacting:
    """Does the steps of one shard's calls."""

    def __init__(self, store: EngineStore, lease: Lease, clock: Clock, host: Host) -> None:
        self._store = store
        self._lease = lease
        self._clock = clock
        self._host = host

    async def transact(self, running: Running, step: Callable[[Any], Outcome | Stall]) -> Outcome | Stall | None:
        """The outcome of a step that failed; None if its result is mail now, or the call is closed."""
        if not isinstance(self._store, Transactions):
            return Outcome(failure=UNSUPPORTED)
        id, _, _, number = running.address
        carried: list[Mail] = []

        def work(guest: Any) -> Mail:
            outcome = step(guest)
            if isinstance(outcome, Stall) or outcome.failure is not None:
                raise _Failed(outcome)
            at = self._clock.now()
            carried[:] = [kept(id, report(running, outcome, at), at)]
            return carried[0]

        while True:
            try:
                done = await self._store.transact(self._lease, id, number, running.wait.attempt, work)
            except _Failed as failed:
                return failed.outcome
            except StoreError:  # full, or no answer: what has not happened happens once the store takes it
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            if done == contract.Outcome.COMMITTED:
                self._host.receive(carried[0])
            elif done == contract.Outcome.CONFLICT:
                self._host.poll_now()  # because an earlier try may have happened, whose mail is there
            return None


class _Failed(Exception):
    """The step failed, so its transaction must not happen."""

    def __init__(self, outcome: Outcome | Stall) -> None:
        super().__init__()
        self.outcome = outcome
