"""The open calls of an instance, once they are durable: which attempts begin, which queues and clocks are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from perdure.clock import Clock
from perdure.engine.attempts import Address
from perdure.engine.standstill import is_quarantined
from perdure.stores.contract import HELD, IN_QUEUE, OUT, QUEUED, Head, Turn, Wait, WaitKind


class Services(Protocol):
    """What calls ask of the shard that their instance belongs to."""

    clock: Clock

    @property
    def has_doors(self) -> bool: ...
    def schedule(self, due: int, id: str, number: int) -> None: ...
    def start_attempt(self, address: Address, wait: Wait) -> None: ...
    def queued(self, address: Address, wait: Wait) -> None: ...
    def cancel_attempt(self, address: Address) -> None: ...
    def call_off_attempts(self, address: Address, attempt: int) -> None: ...


def release(services: Services, head: Head, turn: Turn) -> None:
    """What the turn has opened begins, what it has closed ends; `head` is the one behind it."""
    address = (head.id, turn.execution, turn.generation)
    for number in turn.closed:
        services.cancel_attempt((*address, number))
    for wait in turn.opened:
        if wait.kind == "activity":
            start_attempt(services, head, wait)
        elif wait.due is not None:
            services.schedule(wait.due, head.id, wait.number)
        elif wait.kind == WaitKind.QUEUE:
            tell_queue(services, head, wait)
    for wait in turn.changed:
        services.call_off_attempts((*address, wait.number), wait.attempt - 1)
        if wait.state in IN_QUEUE:
            tell_queue(services, head, wait)
        elif wait.due is not None and wait.state not in OUT:
            services.schedule(wait.due, head.id, wait.number)


def take_up(services: Services, head: Head, waits: Mapping[int, Wait]) -> None:
    """Start what should be running: after a load, a resume."""
    now = services.clock.now()
    for wait in list(waits.values()):
        if wait.kind == WaitKind.START and wait.due is not None:
            # because who created it may be another process, and this one's window is read already
            services.schedule(wait.due, head.id, wait.number)
        elif wait.kind == "activity" or wait.state in IN_QUEUE:
            if wait.due is None or wait.due <= now:
                start_attempt(services, head, wait)
            elif wait.state not in OUT:
                services.schedule(wait.due, head.id, wait.number)


def start_attempt(services: Services, head: Head, wait: Wait) -> None:
    """Begin the next attempt if one may begin here and now."""
    if head.suspended is None and wait.state == HELD and not is_quarantined(head):
        services.start_attempt((head.id, head.execution, head.generation, wait.number), wait)
    elif wait.state in IN_QUEUE:
        tell_queue(services, head, wait)


def tell_queue(services: Services, head: Head, wait: Wait) -> None:
    """Let the queue know where the call stands in it."""
    if wait.state == QUEUED and services.has_doors and (head.suspended is not None or is_quarantined(head)):
        return  # because it would give the slot back; it asks when it goes on
    services.queued((head.id, head.execution, head.generation, wait.number), wait)
