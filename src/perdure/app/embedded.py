"""The life of an app whose engine runs in this process, on a store."""

from __future__ import annotations

from collections.abc import Awaitable, Collection
from typing import TYPE_CHECKING, Any

from perdure.app.address import address_of, open_store
from perdure.app.life import Life, worker_of
from perdure.app.packing import packed_receiver, writer_of
from perdure.engine.auditing import this_program
from perdure.engine.engine import Engine
from perdure.engine.settings import Retention
from perdure.stores.contract import EngineStore

if TYPE_CHECKING:
    from perdure.app.app import App
    from perdure.blocks.state.own import OwnStates
    from perdure.blocks.state.stores import Shelf
    from perdure.engine.herald import Receiver
    from perdure.sdk.webhooks import Webhook


class Embedded(Life):
    """The store is at `given`, or is `given` itself."""

    engine: Engine

    def __init__(self, app: App, given: str | EngineStore, retention: Retention, webhook: Webhook | None) -> None:
        settings, store, worker = app.settings, open_store(given), worker_of(app)
        engine = Engine(
            app.id,
            store,
            worker,
            standby=settings["standby"],
            slots=settings["slots"],
            slots_by_name=settings["slots_by_name"],
            workflow_slots=settings["workflow_slots"],
            workflow_slots_by_name=settings["workflow_slots_by_name"],
            activations_max=settings["activations_max"],
            history_events_max=settings["history_events_max"],
            quarantine_deaths=settings["quarantine_deaths"],
            drain_seconds=settings["drain_seconds"],
            retention=retention,
            metrics=settings["metrics"],
            principal=this_program() if settings["audit"] else None,
            tracing=app.tracing,
            announces=settings["lifecycle"],
            receiver=_receiver(webhook),
        )
        super().__init__(app, worker, engine, engine.operations)
        self._codec = app.codec
        self._given = given
        self._states: OwnStates | None = None

    async def open(self) -> None:
        """Take up what was in flight, or stand by. Raises StoreOwned, AppReserved, InvalidArgument, StoreError."""
        self.worker.read_with(self.client.gateway.events)  # before it starts, because recovery may need it at once
        self.worker.start()
        try:
            await self.engine.open()
        except BaseException:
            await self._abandon()
            raise

    async def subscribe(self, declared: Collection[Any]) -> None:
        """Have each group join before the first handles anything, because what all have passed is forgotten."""
        from perdure.engine.surroundings import Surroundings  # because most apps subscribe to nothing

        around = Surroundings(self.engine, writer_of(self._codec), self.worker.in_thread)
        for each in declared:
            await self.engine.operations.join(each.topic, each.group, each.options)
        for each in declared:
            self.engine.consumers.add(each.topic, each.group, packed_receiver(each.receiver(around), self._codec))

    def shelf(self, name: str) -> Awaitable[Shelf]:
        """One that lies in the app's own store."""
        if self._states is None:
            from perdure.blocks.state.own import OwnStates  # because most apps have no state beside their workflows

            self._states = OwnStates(self.app_id, address_of(self._given))
        return self._states.shelf(name)

    async def _abandon(self) -> None:
        self.worker.stop()
        await self._close_states()
        await self.engine.store.close()

    async def _close_states(self) -> None:
        states, self._states = self._states, None
        if states is not None:
            await states.close()


def _receiver(webhook: Webhook | None) -> Receiver | None:
    """Who sends to a webhook; loaded by those who have one."""
    if webhook is None:
        return None
    from perdure.remote.webhook import WebhookReceiver

    return WebhookReceiver(webhook)
