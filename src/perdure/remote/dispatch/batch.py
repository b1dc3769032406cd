"""A batch of operations of an entity that a remote worker runs."""

from __future__ import annotations

import logging
from collections.abc import Callable

from perdure.errors import MalformedMessage, PerdureError
from perdure.history.entities import is_entity
from perdure.history.events import Failure, TurnAnswered
from perdure.history.work import Batch, BatchResult, Operated, Stall
from perdure.remote.dispatch.dispatcher import Dispatcher
from perdure.remote.dispatch.verdict import UNFORESEEN, too_large
from perdure.remote.dispatch.work import Kind, Need, Peer, Work
from perdure.remote.requests import EntityItem, EntityResult

log = logging.getLogger("perdure")


class BatchWork(Work):
    """A batch of operations for a worker."""

    __slots__ = ("_dispatcher", "_done", "batch")

    def __init__(self, batch: Batch, done: Callable[[BatchResult | Stall], None], dispatcher: Dispatcher) -> None:
        super().__init__(Need(batch.app, Kind.ENTITY, batch.name), batch.entity)
        self.batch = batch
        self._done = done
        self._dispatcher = dispatcher

    def new_token(self, token: Callable[[], str]) -> str:
        """It names the entity, because its answer does not, and any node may get it."""
        return f"{token()}.{self.instance}"

    def item(self, peer: Peer) -> bytes | None:
        batch, codec = self.batch, peer.codec
        try:
            events = [codec.event(event, batch.entity, batch.execution) for event in batch.operations]
            asked = EntityItem(
                entity=batch.entity,
                execution=batch.execution,
                token=self.token,
                operations=[event for event in events if event is not None],
                state=batch.state,
                batch=batch,
            )
            item = codec.entity_item(asked)
        except PerdureError as error:
            self._done(_failed(Stall("payload-not-decodable", str(error))))
            return None
        if len(item) > peer.item_bytes_max:
            self._done(_failed(too_large(len(item), peer.item_bytes_max)))
            return None
        return item

    def take(self, result: EntityResult) -> None:
        """A worker's answer. One that asks for the state gets the batch again: it has been sent what there is."""
        if result.must_have_state:
            self._dispatcher.abandon(self.token)
            self._dispatcher.submit_later(self)
            return
        self._dispatcher.answered(self.token)
        if result.stall is not None:
            self._done(result.stall)
            return
        results = [Operated(one.result, one.failure) for one in result.results]
        self._done(BatchResult(results, result.actions, result.state, result.failure))

    def fail(self) -> None:
        self._done(UNFORESEEN)

    def convict(self, stall: Stall) -> None:
        self._done(stall)

    # -- what the engine asks -------------------------------------------------------------------------------------

    def retract(self) -> None:
        self._dispatcher.withdraw(self)

    def expects(self, token: str) -> bool:
        return self.token == token

    def answer(self, answered: TurnAnswered) -> None:
        """Take what came by way of another node. Bytes that cannot be read leave the batch to its lease."""
        found = self._dispatcher.peek(answered.token)
        if found is None:
            return
        try:
            self.take(found[1].codec.read_entity_result(answered.answer))
        except MalformedMessage as error:
            log.warning("the answer to a batch of %s cannot be read, so its lease decides: %s", self.instance, error)


def _failed(stall: Stall) -> BatchResult:
    """The end of operations that no worker would be given, whatever code it has."""
    return BatchResult(failure=Failure(type=stall.reason, message=stall.description))


def entity_of(token: str) -> str:
    """Which entity a batch was for; empty if the token is of other work."""
    entity = token.partition(".")[2]
    return entity if is_entity(entity) else ""
