"""What workers call: their stream of work, and the answers to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple
from zlib import crc32

from perdure.errors import ServerUnavailable, StoreError
from perdure.history.events import ActivityCompleted, ActivityFailed, TurnAnswered, encode_event
from perdure.history.topics import attempt_messages
from perdure.remote.codec import Codec
from perdure.remote.dispatch.attempt import AttemptWork, outcome_of
from perdure.remote.dispatch.batch import BatchWork, entity_of
from perdure.remote.dispatch.lent import Lent
from perdure.remote.dispatch.stream import (
    IN_FLIGHT_ONE_QUEUE_MAX,
    ITEM_BYTES_MAX,
    ITEM_BYTES_UNTOLD_MAX,
    WorkerStream,
)
from perdure.remote.dispatch.turn import TurnWork
from perdure.remote.dispatch.work import Kind, Work
from perdure.remote.hosted import Hosted
from perdure.remote.native.codec import NATIVE
from perdure.remote.native.envelope import ITEM, write_batch
from perdure.remote.requests import ActivityResult, EntityResult, Flavour, OpenStream
from perdure.remote.rpc.caller import Caller, flavour_of, has_narrow_channel, keeps_one_queue
from perdure.remote.wire.addresses import read_activity_address, read_turn_address
from perdure.remote.wire.codec import DAPR, MICROSOFT, codec_of
from perdure.remote.wire.instance_requests import read_abandon
from perdure.remote.wire.opening import read_open_stream
from perdure.stores.contract import Mail, Outcome, Report


class Bounds(NamedTuple):
    """How many workers may be connected at a port, and how many items of a kind each of them has at once."""

    streams_max: int
    items_max: int


class Workers:
    """Handlers for workers."""

    def __init__(self, hosted: Hosted, bounds: Bounds) -> None:
        self._hosted = hosted
        self._dispatcher = hosted.dispatcher
        self._bounds = bounds
        self._connected = 0

    async def work_items(self, data: bytes, caller: Caller) -> AsyncIterator[bytes]:
        """Items for the worker until it leaves; what it has not answered then goes to others."""
        opened = read_open_stream(data)
        narrow, items_max = has_narrow_channel(caller, opened), self._bounds.items_max
        stream = WorkerStream(
            caller.app,
            _codec_of(flavour_of(caller, opened)),
            opened,
            grant=caller.grant,
            items_max=min(items_max, IN_FLIGHT_ONE_QUEUE_MAX) if keeps_one_queue(caller) else items_max,
            item_bytes_max=ITEM_BYTES_UNTOLD_MAX if narrow else ITEM_BYTES_MAX,
            reserved=self._hosted.reserved.get(caller.app, ()),
            is_inner=caller.is_inner,
        )
        if self._connected >= self._bounds.streams_max:
            raise ServerUnavailable(
                f"{self._connected:,} workers are connected to this port, which are all that it takes; connect to "
                "another server of the app, or start this one with a larger bound"
            )
        is_native = stream.codec.flavour is Flavour.PERDURE
        self._connected += 1
        try:
            await self._hosted.connect(stream)
            if is_native:
                stream.send(stream.codec.ping())  # because such a worker wants to know when it is there
            while (item := await stream.next()) is not None:
                yield _batch(item, stream) if is_native else item
            # because a stream that ends well without an item makes some workers give up the channel
            raise ServerUnavailable("the server lets its workers go; connect again in a moment")
        finally:
            self._dispatcher.disconnect(stream)
            self._connected -= 1

    async def complete_turn(self, data: bytes, caller: Caller) -> bytes:
        """A worker's answer to a turn. One that is stale changes nothing, and is not the worker's fault."""
        address = read_turn_address(data)
        token = address.token or self._dispatcher.without_token(caller.app, Kind.TURN, address.instance)
        found = self._out(token, Kind.TURN, caller)
        if found is not None:
            work, stream = found
            if isinstance(work, Lent):
                result = stream.codec.read_turn_result(data)
                await self._pass_on(work, data, caller)
                work.told(result)
                return b""
            assert isinstance(work, TurnWork)
            grant = caller.grant if stream.is_relay else stream.grant
            work.take(stream.codec.read_turn_result(data), self._dispatcher, grant)
        elif token:
            await self._forward(address.instance, token, data, caller)
        return b""

    async def _pass_on(self, work: Lent, data: bytes, caller: Caller) -> None:
        """Let the owner of lent work have an answer to it. It goes back if that cannot be told, because most workers
        tell it once."""
        try:
            await self._forward(work.instance, work.token, data, caller)
        except StoreError as error:
            work.give_back(f"its answer could not be written: {error}")
            raise

    async def _forward(self, instance: str, token: str, data: bytes, caller: Caller) -> None:
        """The run may be another node's: send it the answer by way of the store."""
        engine = await self._hosted.engine(caller.app)
        if engine.owner_of(instance) is None:
            apps = None if caller.grant.apps is None else sorted(caller.grant.apps)
            event = TurnAnswered(at=engine.clock.now(), token=token, answer=data, apps=apps)
            # because the parts of an answer are mail each, and one that is sent again is the same mail
            mail = Mail(instance, f"turn.{token}.{crc32(data):x}", encode_event(event), event.at)
            await engine.operations.post.deliver(mail)

    async def complete_activity(self, data: bytes, caller: Caller) -> bytes:
        """A worker's answer to an attempt, which is durable when this returns."""
        address = read_activity_address(data)
        number = address.number
        token = address.token or self._dispatcher.without_token(caller.app, Kind.ACTIVITY, address.instance, number)
        found = self._out(token, Kind.ACTIVITY, caller)
        if found is None:
            await self._report_late(data, token or "", caller)
            return b""
        work, stream = found
        if isinstance(work, Lent):
            await self._hosted.to_its_end(self._end_lent(work, stream.codec.read_activity_result(data)))
            return b""
        assert isinstance(work, AttemptWork)
        result = stream.codec.read_activity_result(data)
        if stream.codec.flavour is Flavour.PERDURE:
            # because the owner folds it into the run's next turn: no mail between, as if the attempt had been made here
            work.end(outcome_of(result))
            self._dispatcher.withdraw(work)
            return b""
        self._dispatcher.withdraw(work)  # here and now, because a worker that leaves gives back what it has in hand
        await self._hosted.to_its_end(self._settle(work, result))
        return b""

    async def _end_lent(self, work: Lent, result: ActivityResult) -> None:
        """Write the end of a lent attempt into the mailbox of its run. It goes back if that cannot be told."""
        if result.stall is not None:
            work.give_back(result.stall.description)
            return
        app, execution, generation, _, attempt = _call_of(work.content.token)
        try:
            await self._report(app, result, execution, generation, attempt, work.content.key)
        except StoreError as error:
            work.give_back(f"its end could not be written: {error}")
            raise
        work.done()

    async def _settle(self, work: AttemptWork, result: ActivityResult) -> None:
        attempt = work.attempt
        try:
            told = await self._report(
                attempt.app, result, attempt.execution, attempt.generation, attempt.attempt, work.told_key
            )
        except StoreError:
            work.end(outcome_of(result))  # because most workers tell it once; the engine tries until there is room
            raise
        if told != Outcome.COMMITTED:
            work.end(outcome_of(result))  # because the run is over, and only its actor can put the call away

    async def _report_late(self, data: bytes, token: str, caller: Caller) -> None:
        """An attempt that this node has not handed out, or not lately: it counts if its call is still open."""
        try:
            call = _call_of(token)
            is_native = flavour_of(caller, OpenStream()) is Flavour.PERDURE
            # because both public flavours write these fields alike
            result = NATIVE.read_activity_result(data) if is_native else DAPR.read_activity_result(data)
        except ValueError:
            return  # because the token is none of ours, and whoever sent it can do nothing about it
        app, execution, generation, number, attempt = call
        if number != result.number or result.stall is not None or not caller.grant.covers(app):
            return
        try:
            await self._report(app, result, execution, generation, attempt, None)
        except StoreError:
            self._end_here(call, result)
            raise

    def _end_here(self, call: tuple[str, str, int, int, int], result: ActivityResult) -> None:
        """An end that cannot be written now is that of the attempt wherever it is, because it is told once."""
        for work in self._dispatcher.every():
            if isinstance(work, AttemptWork) and work.call == call:
                self._dispatcher.withdraw(work)
                work.end(outcome_of(result))
                return

    async def _report(
        self, app: str, result: ActivityResult, execution: str, generation: int, attempt: int, key: str | None
    ) -> Outcome:
        engine = await self._hosted.engine(app)
        at = engine.clock.now()
        event: ActivityCompleted | ActivityFailed
        if result.failure is not None:
            event = ActivityFailed(
                at=at,
                number=result.number,
                failure=result.failure,
                attempt=attempt,
                timed_out=result.timed_out,
                key=key,
            )
        else:
            event = ActivityCompleted(
                at=at,
                number=result.number,
                result=result.result,
                attempt=attempt,
                key=key,
                guarantee=result.guarantee,
                messages=attempt_messages(
                    result.messages, app, (result.instance, execution, generation, result.number), at
                ),
            )
        name = f"{execution}.{generation}.{result.number}.{attempt}.result"
        mail = Mail(result.instance, name, encode_event(event), at, execution, generation)
        return await engine.operations.post.report(Report(result.number, attempt, mail))

    async def complete_batch(self, data: bytes, caller: Caller) -> bytes:
        """A worker's answer to operations of an entity. One that is stale changes nothing."""
        return await self._take_batch(MICROSOFT.read_entity_result(data), data, caller)

    async def complete_actor_batch(self, data: bytes, caller: Caller) -> bytes:
        """The answer of one of Perdure's own workers to operations of an actor, likewise."""
        return await self._take_batch(NATIVE.read_entity_result(data), data, caller)

    async def _take_batch(self, result: EntityResult, data: bytes, caller: Caller) -> bytes:
        found = self._out(result.token, Kind.ENTITY, caller)
        work = found[0] if found is not None else None
        if isinstance(work, Lent):
            await self._pass_on(work, data, caller)
            work.done()
        elif work is not None:
            assert isinstance(work, BatchWork)
            work.take(result)
        elif entity := entity_of(result.token):
            await self._forward(entity, result.token, data, caller)
        return b""

    async def abandon(self, data: bytes, caller: Caller) -> bytes:
        """A worker gives work back: another one may have what it lacks."""
        token = read_abandon(data)
        work = self._dispatcher.abandon(token) if self._out(token, None, caller) is not None else None
        if isinstance(work, Lent):
            work.give_back("its worker has given it back")
        elif work is not None:
            self._dispatcher.submit_later(work)
        return b""

    def _out(self, token: str | None, kind: Kind | None, caller: Caller) -> tuple[Work, WorkerStream] | None:
        """Work of a kind (None: any) that is out under a token. To who may not act for its app it is not there."""
        found = self._dispatcher.peek(token) if token else None
        if found is None or kind not in (None, found[0].need.kind):
            return None
        return found if caller.grant.covers(found[0].need.app) else None


BATCH_BYTES = 256 * 1024
"""What a message to one of Perdure's own workers has of items, at most one beyond it."""


def _batch(item: bytes, stream: WorkerStream) -> bytes:
    """An item and those that wait behind it, because a message costs more than what is in it."""
    items, size = [(ITEM, item)], len(item)
    while stream.has_unsent and size < BATCH_BYTES:
        item = stream.next_now()
        items.append((ITEM, item))
        size += len(item)
    return write_batch(items)


def _call_of(token: str) -> tuple[str, str, int, int, int]:
    """Which attempt a token names: app, execution, generation, number of the call, and of the attempt. Raises
    ValueError."""
    execution, generation, number, attempt, _, app = token.split(".", 5)
    return app, execution, int(generation), int(number), int(attempt)


def _codec_of(flavour: Flavour) -> Codec:
    return NATIVE if flavour is Flavour.PERDURE else codec_of(flavour)
