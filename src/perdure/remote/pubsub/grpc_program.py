"""A program that is sent its events over gRPC, as Dapr's extensions for it take them (`AppCallback`)."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from perdure.blocks.pubsub import Verdict
from perdure.errors import MalformedMessage
from perdure.remote.app_calls import AppCalls, AppRefused
from perdure.remote.app_channel import AppUnreachable
from perdure.remote.pubsub.declared import Declared
from perdure.remote.pubsub.port import ANSWER_SECONDS, Bulk, Event, trace_of
from perdure.remote.wire import app_callback as wire

log = logging.getLogger("perdure")


class GrpcProgram:
    """Fulfils Program."""

    def __init__(self, calls: AppCalls) -> None:
        self._calls = calls

    async def subscriptions(self) -> list[Declared]:
        """Raises MalformedMessage, InvalidArgument, and ServerUnavailable if it does not listen."""
        try:
            return wire.read_subscriptions(await self._calls.call(wire.SUBSCRIPTIONS, b"", timeout=ANSWER_SECONDS))
        except AppRefused as error:
            if not error.is_unknown:
                raise AppUnreachable(f"{error}; is it starting?") from error
            return []

    async def deliver(self, path: str, event: Event, declared: Declared) -> Verdict:
        """Raises ServerUnavailable."""
        data = wire.write_event(event.message, declared, path)
        try:
            return wire.read_verdict(await self._send(wire.EVENT, data, trace_of(event.message)))
        except (AppRefused, MalformedMessage) as error:
            log.warning("message %s of %s: %s", event.message.id, event.message.topic, error)
            return Verdict.DROP if _is_unknown(error) else Verdict.RETRY

    async def deliver_all(self, path: str, bulk: Bulk, declared: Declared) -> Mapping[str, Verdict]:
        """Raises ServerUnavailable."""
        data = wire.write_bulk(bulk, declared, path)
        for name in wire.BULKS:
            try:
                return wire.read_verdicts(await self._send(name, data, {}))
            except (AppRefused, MalformedMessage) as error:
                log.warning("%d messages of %s: %s", len(bulk.events), declared.topic, error)
                if not _is_unknown(error):
                    return {}
        return dict.fromkeys((one.id for one in bulk.events), Verdict.DROP)

    async def _send(self, name: str, data: bytes, metadata: Mapping[str, str]) -> bytes:
        """The answer. Who says itself that it is unavailable is there, or it would not answer the next call either."""
        try:
            return await self._calls.call(name, data, metadata, timeout=ANSWER_SECONDS)
        except AppUnreachable as error:
            try:
                await self._calls.call(wire.SUBSCRIPTIONS, b"", timeout=ANSWER_SECONDS)
            except AppRefused:
                pass  # because that is an answer as well
            except AppUnreachable:
                raise error from None  # because it knows whether the program was asked
            raise AppRefused(str(error), is_unknown=False) from error

    def __repr__(self) -> str:
        return f"<GrpcProgram {self._calls!r}>"


def _is_unknown(error: AppRefused | MalformedMessage) -> bool:
    """Whether the program has nothing that takes the event."""
    return isinstance(error, AppRefused) and error.is_unknown
