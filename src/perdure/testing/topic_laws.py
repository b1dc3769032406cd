"""What must hold of topics: an independent record of what was appended to each, and of who has handled it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from perdure.codec import decode
from perdure.history.events import MessagePublished
from perdure.history.subscribing import Verdict
from perdure.history.topic_log import decode_log, decode_page
from perdure.history.topics import DEAD_REASON, is_topic, topic_of
from perdure.sdk.cloud_event import CloudEvent
from perdure.stores.contract import Turn
from perdure.testing.witness import Witness

ORDERS, LETTERS, STATEMENTS = "orders", "letters", "statements"
"""The topics of a world."""
GROUPS = ((ORDERS, "handle"), (LETTERS, "read"))
"""Topic and name of the groups whose handlers are watched."""
ATTEMPTS_MAX = 4
"""After so many attempts a message of `ORDERS` is a dead letter."""
Place = tuple[str, str, str]
"""(topic, source, id): which message."""


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message of `ORDERS`. `to` hears of it once; `way` is how its handling goes; `sequence` counts the orders of one
    publisher and key that were published one after the other, from 1; 0: it is not one of these.

    `again`: the same order under the id of another event. `doomed`: what publishes it fails, so nobody must see it.
    """

    mark: int
    to: str
    way: str = "ok"
    key: str = "a"
    sequence: int = 0
    again: bool = False
    doomed: bool = False


class Letter(msgspec.Struct, frozen=True):
    """A message of `LETTERS`: the order `mark` is done. A dead letter is the order itself, and has the same fields."""

    mark: int
    to: str
    doomed: bool = False


class TopicLaws:
    """Accuses before the witness whatever breaks the order or number of messages, as soon as it is seen."""

    def __init__(self, witness: Witness) -> None:
        self.appended: dict[str, list[MessagePublished]] = defaultdict(list)
        """Messages by topic, in the order of their partitions' logs."""
        self._witness = witness
        self._known: set[Place] = set()
        self._lines: dict[tuple[str, str | None], list[Place]] = defaultdict(list)
        self._counts: Counter[str] = Counter()
        self._last: Counter[tuple[str, str]] = Counter()
        self._begun: Counter[tuple[str, Place]] = Counter()
        self._failed: Counter[tuple[str, Place]] = Counter()
        self._ended: dict[tuple[str, Place], Verdict] = {}

    # -- what is committed ----------------------------------------------------------------------------------------

    def turn(self, turn: Turn) -> None:
        """A turn of whatever instance was committed."""
        if not is_topic(turn.id):
            return
        self._witness.probes["message lent"] += len(turn.opened)
        for row in turn.published:
            page = decode_page(row.value)
            for message in page.messages if page is not None else ():
                self._append(turn.id, message)
        log = decode_log(turn.head.custom_status) if turn.head is not None else None
        if log is not None and log.count != self._counts[turn.id]:
            self._witness.accuse(f"{turn.id} counts {log.count} messages; {self._counts[turn.id]} were appended")

    def _append(self, id: str, message: MessagePublished) -> None:
        topic, place = topic_of(id), (message.topic, message.source, message.id)
        if place in self._known:
            self._witness.accuse(f"{place} was appended twice")
        self._known.add(place)
        self._counts[id] += 1
        self.appended[topic].append(message)
        self._lines[topic, message.key].append(place)
        if topic == ORDERS:
            self._append_order(message.source, decode(message.data, Order))
        elif topic == LETTERS:
            self._witness.probes["dead letter appended"] += DEAD_REASON in (message.extensions or {})
            if decode(message.data, Letter).doomed:
                self._witness.accuse(f"{message} was published by a handler that failed")

    def _append_order(self, source: str, order: Order) -> None:
        if order.doomed:
            self._witness.accuse(f"{order} was published by an attempt that failed")
        if order.sequence:
            if order.sequence != self._last[source, order.key] + 1:
                before = self._last[source, order.key]
                self._witness.accuse(f"{order} of {source} was appended after the order {before} of its key")
            self._last[source, order.key] = order.sequence
        self._witness.probes["order appended"] += 1

    # -- who handles it -------------------------------------------------------------------------------------------

    def begin(self, group: str, event: CloudEvent) -> int:
        """A handler begins; how many times now."""
        place = event.topic, event.source, event.id
        if place not in self._known:
            self._witness.accuse(f"{group} handles {place}, which was not appended")
        for before in self._before(event.topic, event.key, place):
            if not self._is_over(group, before):
                self._witness.accuse(f"{group} handles {place} before {before}, which has the key {event.key!r} too")
        self._begun[group, place] += 1
        self._witness.probes["message handled again"] += self._begun[group, place] > 1
        return self._begun[group, place]

    def _before(self, topic: str, key: str | None, place: Place) -> Iterator[Place]:
        for before in self._lines[topic, key] if key is not None else ():
            if before == place:
                return
            yield before

    def end(self, group: str, event: CloudEvent, verdict: Verdict) -> None:
        """A handler has said what it thinks."""
        place = event.topic, event.source, event.id
        if verdict == Verdict.RETRY:
            self._failed[group, place] += 1
        else:
            self._ended[group, place] = verdict

    def _is_over(self, group: str, place: Place) -> bool:
        """Whether nobody need handle a message any more."""
        return (group, place) in self._ended or self._failed[group, place] >= ATTEMPTS_MAX

    # -- at the end -----------------------------------------------------------------------------------------------

    def inspect(self, orders: Collection[Order]) -> None:
        """All these orders, each once, were handled by each group, told of once and begun once."""
        accuse = self._witness.accuse
        found = Counter((order.mark, order.again) for order in self._read(ORDERS, Order))
        asked = Counter((order.mark, order.again) for order in orders)
        if found != asked:
            accuse(f"orders that are missing: {asked - found}; too many: {found - asked}")
        told = Counter(letter.mark for letter in self._read(LETTERS, Letter))
        wanted = Counter(order.mark for order in orders if not order.again)
        if told != wanted:
            accuse(f"letters that are missing: {wanted - told}; too many: {told - wanted}")
        for topic, group in GROUPS:
            for message in self.appended[topic]:
                place = message.topic, message.source, message.id
                if not self._is_over(group, place):
                    accuse(f"{place} was never handled by {group}")
        self._inspect_starts({order.mark for order in orders})

    @property
    def statements(self) -> list[str]:
        """What accounts have published."""
        return [decode(message.data, str) for message in self.appended[STATEMENTS]]

    def _read(self, topic: str, kind: type[msgspec.Struct]) -> Iterator[Any]:
        return (decode(message.data, kind) for message in self.appended[topic])

    def _inspect_starts(self, marks: set[int]) -> None:
        runs = {key[:2] for key in self._witness.records if key[0].startswith("order-")}
        started = Counter(id for id, _ in runs)
        wanted = Counter(f"order-{mark}" for mark in marks)
        if started != wanted:
            missing, more = wanted - started, started - wanted
            self._witness.accuse(f"orders that started nothing: {missing}; that started more than one run: {more}")

    def __repr__(self) -> str:
        return f"<TopicLaws: {len(self._known)} messages, {len(self._ended)} handled>"
