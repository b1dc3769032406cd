"""A partition of a topic in memory: what comes is appended, and what its groups make of it is written with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from msgspec.structs import replace

from perdure.actors.docket import Settled
from perdure.actors.host import Actor
from perdure.actors.message import Message
from perdure.clock import Clock
from perdure.engine.consumers import Consumers
from perdure.engine.handlers import Handlers
from perdure.engine.topic_groups import Groups
from perdure.engine.topic_intake import Intake, Memory, batch_size
from perdure.engine.topic_pages import Pages
from perdure.errors import StoreUnavailable
from perdure.history.draft import Draft
from perdure.history.topic_log import Log, Page, append, decode_log, encode_log, trim, written
from perdure.history.topics import topic_of
from perdure.stores.contract import EngineStore, Head, Loaded, Outcome, Published, Status, Turn
from perdure.telemetry.metrics import Metrics

log = logging.getLogger("perdure")


class Services(Protocol):
    """What a partition asks of the shard that it belongs to."""

    shard: int
    clock: Clock
    store: EngineStore
    commands_only: bool
    consumers: Consumers
    handlers: Handlers
    quarantine_deaths: int | None
    metrics: Metrics | None

    @property
    def lends(self) -> bool:
        """Whether other nodes may take messages that nobody here handles."""

    def submit(self, turn: Turn, settled: Settled) -> None: ...
    def released(self, turn: Turn) -> None: ...
    def consumed(self, id: str, keys: Sequence[str]) -> None: ...
    def drop(self, actor: Actor) -> None: ...
    def retry(self, id: str) -> None: ...
    def count(self, what: str) -> None: ...


class Topic:
    """One partition. What it is told is answered when the turn that appends it is durable."""

    __slots__ = (
        "_appended",
        "_arrivals",
        "_batch",
        "_busy",
        "_closed",
        "_durable",
        "_groups",
        "_log",
        "_memory",
        "_metrics",
        "_pages",
        "_roused",
        "_services",
        "_turn",
        "_woken",
        "head",
        "name",
    )

    def __init__(self, services: Services, loaded: Loaded) -> None:
        self.head: Head = loaded.head
        self.name = topic_of(loaded.head.id)
        self._services = services
        self._log = decode_log(loaded.head.custom_status)
        self._durable = self._log.next
        self._appended = 0
        self._metrics = services.metrics.topic(self.name) if services.metrics is not None else None
        self._memory = Memory(loaded.seen)
        self._pages = Pages(services, loaded.head.id, self._fed)
        self._groups = Groups(services, self.name, self._log, loaded.waits, self._wake)
        self._arrivals: list[Message] = []
        self._batch: list[Message] = []
        self._busy = self._closed = self._woken = self._roused = False
        self._turn: Turn | None = None

    # -- what the host asks ---------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        return self.head.id

    @property
    def is_idle(self) -> bool:
        is_at_work = self._busy or self._woken or self._arrivals or self._pages.is_reading
        return not is_at_work and self._groups.is_at_rest

    @property
    def rests(self) -> bool:
        return False

    def tell(self, message: Message) -> None:
        if self._closed:
            message.settle(self._gone())
            return
        self._arrivals.append(message)
        self._wake()

    def rouse(self) -> None:
        """Somebody may have come who handles what lies here; a turn that is being written has not looked for them."""
        self._roused = True
        self._wake()

    def unstall(self) -> None:
        """A topic stands still for nobody; this is one more look."""
        self.rouse()

    def examine(self) -> None:
        """There is no history."""

    def due(self, number: int) -> None:
        """It has no waits in the store."""

    def untaken(self) -> list[str]:
        kept = (*self._batch, *self._groups.reports, *self._arrivals)
        return [m.key for m in kept if m.stored and m.key is not None]

    def close(self) -> None:
        self._closed = True
        self._groups.close()
        for message in (*self._batch, *self._arrivals):
            message.settle(self._gone())

    def _gone(self) -> StoreUnavailable:
        return StoreUnavailable(f"the topic {self.name!r} has left this node; publish again")

    # -- a turn ---------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Take a turn soon: not at once, so that what comes together is written together."""
        if not (self._busy or self._woken or self._closed):
            self._woken = True
            asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        """Append, carry out what follows, write; and hand out what is durable, if there is nothing to write."""
        self._woken = False
        if self._busy or self._closed or self._services.commands_only:
            return
        self._roused = False
        # because time never goes back within an actor
        draft = Draft(self.head, {}, max(self._services.clock.now(), self.head.updated))
        turn = self._decided(draft)
        if turn is not None:
            self._submit(turn)
            return
        self._answer()
        self._go_on()

    def _answer(self) -> None:
        """What was told is durable."""
        batch, self._batch = self._batch, []
        for message in batch:
            message.settle()

    def _decided(self, draft: Draft) -> Turn | None:
        """What is to be written; None for nothing."""
        count = batch_size(self._arrivals)
        self._batch, self._arrivals = self._arrivals[:count], self._arrivals[count:]
        intake = self._memory.take_in(self._log, self._batch, self._pages)
        self._set_aside(intake)
        log, pages = append(intake.log, intake.messages)
        self._appended += len(intake.messages)
        self._log, reported, is_moved = self._groups.move(draft, log, pages, intake.reports, intake.left)
        intake.consumed += reported
        self._batch = [message for message in self._batch if message not in self._groups.reports]
        if not (intake.is_changed or pages or is_moved):
            consumed = intake.consumed
            return draft.turn(self._services.shard, self.head.sequence, consumed, ()) if consumed else None
        draft.published += self._write_log(draft, pages)
        return draft.turn(self._services.shard, self.head.sequence, intake.consumed, intake.seen)

    def _set_aside(self, intake: Intake) -> None:
        """What cannot be taken in before a page is read comes again with the next turn."""
        if intake.aside:
            self._batch = [message for message in self._batch if message not in intake.aside]
            self._arrivals = [*intake.aside, *self._arrivals]
        for why in intake.dropped:
            self._services.count(why)

    def _write_log(self, draft: Draft, pages: dict[int, Page]) -> list[Published]:
        """The log into the head; the rows of pages. One that every group has passed already needs none."""
        self._log, passed = trim(self._groups.standing(self._log))
        draft.fields["custom_status"] = encode_log(self._log)
        if self.head.status == Status.PENDING:
            draft.fields["status"] = Status.RUNNING
        kept = {number: page for number, page in pages.items() if number >= self._log.first}
        skipped = len(pages) - len(kept)
        return [*written(self._log, kept), *passed[: len(passed) - skipped]]

    def _submit(self, turn: Turn) -> None:
        self._busy, self._turn = True, turn
        self._services.submit(turn, self._committed)

    def _committed(self, outcome: Outcome) -> None:
        turn, self._turn = self._turn, None
        assert turn is not None
        if outcome != Outcome.COMMITTED:
            self._refused(outcome)
            return
        sequence = self.head.sequence + 1
        self.head = turn.head or replace(self.head, sequence=sequence, updated=turn.at)
        self._count(self._log.next)
        if turn.consumed:
            self._services.consumed(self.id, turn.consumed)
        self._answer()
        self._services.released(turn)
        self._busy = False
        self._go_on()

    def _count(self, next: int) -> None:
        """What a turn has brought is durable."""
        self._durable = next
        tally = self._groups.take_tally()
        tally.published, self._appended = self._appended, 0
        if self._metrics is not None:
            self._metrics.add(tally)

    def _refused(self, outcome: Outcome) -> None:
        """Somebody else has written, or this cannot be: what the store holds counts."""
        if outcome in (Outcome.TOO_LARGE, Outcome.UNWRITABLE):
            log.error("the topic %s stands still until its server starts again: a turn cannot be written", self.id)
            self.close()
            return
        self._services.count(outcome)
        self._services.drop(self)
        self._services.retry(self.id)

    # -- after a turn ---------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """All that is in memory is durable: hand it out, and read what comes next."""
        if self._services.handlers.is_halted:
            self._groups.halt()
            if self._groups.has_results:
                self._wake()
            return
        for name, numbers in self._groups.go_on(self._durable):
            self._pages.read(name, self._log, numbers)
        if self._roused or self._groups.has_results or (self._arrivals and not self._pages.is_reading_first):
            self._wake()

    def _fed(self, name: str | None, found: dict[int, Page | None]) -> None:
        """Pages have been read: for a group, or because somebody joins."""
        if name is not None:
            self._groups.feed(name, found)
        self._wake()

    @property
    def log(self) -> Log:
        return self._log

    def __repr__(self) -> str:
        return f"<Topic {self.id} turn {self.head.sequence}: {self._groups!r}>"
