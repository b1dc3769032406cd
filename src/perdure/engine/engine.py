"""One engine: owns the shards of one app on one store, or stands by until it may."""

from __future__ import annotations

import asyncio
import logging
import os
import socket

from perdure.actors.host import ACTIVATIONS_MAX
from perdure.actors.rounds import Rounds
from perdure.clock import Clock, SystemClock
from perdure.engine.attempts import SLOTS
from perdure.engine.instance import HISTORY_EVENTS_MAX, Instance
from perdure.engine.operations import Operations
from perdure.engine.ports import Executor
from perdure.engine.quarantine import QUARANTINE_DEATHS
from perdure.engine.shard import Shard
from perdure.errors import StoreError, StoreOwned
from perdure.scheduler.pace import PACE, Pace
from perdure.stores.contract import EngineStore, shard_number

log = logging.getLogger("perdure")
DRAIN_SECONDS = 10.0
"""How long closing waits for attempts that run."""


class Engine:
    """Runs the workflows of `app`. `open` returns when work in flight is taken up, or at once as a standby.

    `execute` False never owns: commands go through the store. `commands_only`, for a node without the app's code, owns
    what is free when it opens and takes only turns that commands ask for and that need no code (see `Shard`).
    """

    def __init__(
        self,
        app: str,
        store: EngineStore,
        executor: Executor,
        *,
        clock: Clock | None = None,
        standby: bool = True,
        execute: bool = True,
        commands_only: bool = False,
        owner: str | None = None,
        slots: int = SLOTS,
        activations_max: int = ACTIVATIONS_MAX,
        history_events_max: int = HISTORY_EVENTS_MAX,
        quarantine_deaths: int | None = QUARANTINE_DEATHS,
        pace: Pace = PACE,
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        self.app = app
        self.store = store
        self.clock = clock or SystemClock()
        self.owner = owner or f"{socket.gethostname()}:{os.getpid()}"
        self.shard_ids: list[int] = []
        self.owned: dict[int, Shard] = {}
        self._executor = executor
        self._standby = standby
        self._execute = execute
        self._commands_only = commands_only
        self._slots = slots
        self._activations_max = activations_max
        self._history_events_max = history_events_max
        self._quarantine_deaths = quarantine_deaths
        self._pace = pace
        self._drain_seconds = drain_seconds
        self._ownership = Rounds("ownership", self._ownership_round)
        self._losing: set[asyncio.Task[None]] = set()
        self._told_holder: str | None = None
        self.operations = Operations(self)

    async def open(self) -> None:
        """Raises StoreOwned if another process owns the store and standing by is not wanted."""
        try:
            await self.store.open()
            self.shard_ids = await self.store.shards(self.app)
            self.operations.start_polling()
            if self._execute:
                await self._take_up()
        except BaseException:
            await self._let_go(list(self.owned.values()))
            raise

    async def _take_up(self) -> None:
        await self._acquire()
        if not self.owned and not self._standby:
            holder = await self.store.holder(self.app)
            raise StoreOwned(
                f"another process owns the store ({holder}); stop it, or allow standing by with standby=True"
            )
        if not self._commands_only:
            self._ownership.start()

    async def close(self) -> None:
        """Drain what runs, commit what is decided, give the shards back. Cancelled, it does without the rest."""
        shards = list(self.owned.values())
        self.owned.clear()
        try:
            await self._ownership.stop()
            for shard in shards:
                await shard.close(self._drain_seconds)
        finally:
            await self._let_go(shards)

    async def _let_go(self, shards: list[Shard]) -> None:
        """Leave nothing running and nothing held, because a lock that stays would make the next engine stand by."""
        await self._ownership.stop()
        self.owned.clear()
        for shard in shards:
            await shard.abandon()
        await self.operations.stop()
        try:
            if shards:
                await self.store.release([shard.lease for shard in shards])
        finally:
            await self.store.close()

    def shard_of(self, id: str) -> int:
        """The shard that an instance belongs to."""
        return self.shard_ids[shard_number(id, len(self.shard_ids))]

    def owner_of(self, id: str) -> Shard | None:
        """The shard of an instance if this node owns it."""
        return self.owned.get(self.shard_of(id))

    def runs(self, id: str, execution: str | None) -> bool:
        """Whether an unfinished activation of the instance (and of that execution) is in this node's memory."""
        shard = self.owner_of(id)
        actor = shard.host.get(id) if shard is not None else None
        return isinstance(actor, Instance) and not actor.is_finished and execution in (None, actor.head.execution)

    @property
    def is_owner(self) -> bool:
        return bool(self.owned)

    async def _ownership_round(self) -> float | None:
        if not self.owned:
            await self._acquire()
        return self._pace.standby_seconds

    async def _acquire(self) -> None:
        counts_deaths = self._quarantine_deaths is not None and not self._commands_only
        at = self.clock.now() if counts_deaths else None
        for lease in await self.store.acquire(self.app, self.owner, at):
            if lease.shard in self.owned:
                continue
            shard = Shard(
                self.store,
                lease,
                self._executor,
                self.clock,
                on_finished=self.operations.on_finished,
                on_answered=self.operations.answers.tell,
                on_appended=self.operations.readers.appended,
                on_lost=self._lost,
                commands_only=self._commands_only,
                slots=self._slots,
                activations_max=self._activations_max,
                history_events_max=self._history_events_max,
                quarantine_deaths=self._quarantine_deaths,
                pace=self._pace,
            )
            self.owned[lease.shard] = shard
            try:
                await shard.open()
            except StoreError:
                self.owned.pop(lease.shard, None)  # because calls in flight that were not read would wait for ever
                await shard.abandon()
                raise
            self.operations.taken_over()
            log.info("%s owns shard %d of app %s, epoch %d", self.owner, lease.shard, self.app, lease.epoch)
        await self._tell_holder()

    async def _tell_holder(self) -> None:
        """Log whom this node stands by for: once, and again when it is somebody else."""
        holder = None if self.owned else await self.store.holder(self.app) or "another process"
        if holder is not None and holder != self._told_holder:
            log.info("app %s stands by: %s owns the store", self.app, holder)
        self._told_holder = holder

    def _lost(self, shard: Shard, why: str) -> None:
        """The lease is gone, or must be given up: drop everything in memory and start over from the store."""
        if self.owned.get(shard.shard) is not shard:
            return
        del self.owned[shard.shard]
        log.warning("%r is given up: %s", shard, why)
        task = asyncio.get_running_loop().create_task(self._abandon(shard))
        self._losing.add(task)
        task.add_done_callback(self._losing.discard)

    async def _abandon(self, shard: Shard) -> None:
        await shard.abandon()
        try:
            await self.store.release([shard.lease])
        except StoreError as error:
            log.warning("%r could not be given back: %s", shard, error)
        self._ownership.wake()

    def __repr__(self) -> str:
        role = "owner" if self.owned else "standby"
        return f"<Engine {self.app} ({role} {self.owner}) on {self.store!r}>"
