"""What stands for the workers of other servers in a dispatcher: work that is given to it is lent through the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from perdure.engine.lender import Loan
from perdure.history.events import Failure
from perdure.history.lending import call_of
from perdure.history.options import CallOptions, encode_options
from perdure.remote.codec import Codec
from perdure.remote.dispatch.attempt import AttemptWork
from perdure.remote.dispatch.lent import content_of, ways_to_take, written
from perdure.remote.dispatch.stream import ITEM_BYTES_UNTOLD_MAX, WorkerStream
from perdure.remote.dispatch.work import Need, Work
from perdure.remote.requests import OpenStream

LENT_MAX = 100
"""Pieces of work of one kind that a server has lent to workers of one flavour."""


class Lending(Protocol):
    """What is asked of the engine of the app whose code is needed."""

    def taking(self, ways: Sequence[str]) -> str | None:
        """In which of these ways another server tells that it takes such work. None: none does, or nothing can be
        lent from here."""

    def lend(self, instance: str, loan: Loan) -> None:
        """Offer work of an instance to the others."""


class Relay(WorkerStream):
    """The workers of one flavour that an app has at other servers."""

    is_relay = True

    def __init__(self, app: str, codec: Codec, lending: Lending, ended: Callable[[str, Failure | None], None]) -> None:
        super().__init__(app, codec, OpenStream(), items_max=LENT_MAX, item_bytes_max=ITEM_BYTES_UNTOLD_MAX)
        self._lending = lending
        self._ended = ended
        self._loans: dict[str, Loan] = {}

    def accepts(self, need: Need) -> bool:
        """Whether another server says that its workers have the code."""
        return need.app == self.app and not (need.alone or need.flavour or need.stays) and self._way(need) is not None

    def _way(self, need: Need) -> str | None:
        return self._lending.taking(ways_to_take(need, self.codec.flavour))

    def give(self, work: Work, item: bytes) -> None:
        """Lend the work under its token."""
        self.in_flight[work.token] = work
        self._room[work.need.kind] -= 1
        way, token = self._way(work.need), work.token
        assert way is not None, "it was accepted"
        heartbeat = work.attempt.heartbeat if isinstance(work, AttemptWork) else None
        options = encode_options(CallOptions(heartbeat_timeout=heartbeat)) if heartbeat is not None else None
        content = written(content_of(work, item, self.codec.flavour))
        loan = self._loans[token] = Loan(call_of(way), content, options, lambda why: self._ended(token, why))
        self._lending.lend(work.instance, loan)

    def send(self, item: bytes) -> None:
        """Whoever has the work hears by its claim that it is called off."""

    def take_back(self, work: Work) -> None:
        loan = self._loans.pop(work.token, None)
        super().take_back(work)
        if loan is not None:
            loan.call_off()

    def __repr__(self) -> str:
        return f"<Relay of {self.app} ({self.codec.flavour}): {self.load} lent>"
