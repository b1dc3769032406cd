"""The groups of a partition in memory: which message is whose turn, who handles it, and what came of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from perdure.actors.message import Message
from perdure.clock import SECOND, Clock
from perdure.engine.consumers import Consumers, Desk, Seat, again, handled_by
from perdure.engine.handlers import Handlers
from perdure.engine.topic_loans import Loans
from perdure.history.draft import Draft
from perdure.history.handling import Handled, carry_out, give_up
from perdure.history.loans import LOANS_MAX, handled_of
from perdure.history.subscribing import SubscribeOptions, Verdict
from perdure.history.suspicion import Course, conviction, course_behind, course_of, deaths_max_behind
from perdure.history.topic_line import Line, Taken
from perdure.history.topic_log import Group, Log, Page, position_of
from perdure.stores.contract import Wait
from perdure.telemetry.metrics import TopicMetrics

log = logging.getLogger("perdure")
DECISIONS_MAX = 500
"""Messages of which one turn carries out what follows at once; more wait for the next."""
EXPIRED = Handled()
"""A message that came to its end before anybody handled it."""
PUT_OFF_SECONDS = 0.5
"""After which a message comes again that was not given to anybody."""


class Services(Protocol):
    """What groups ask of the shard that they belong to."""

    clock: Clock
    consumers: Consumers
    handlers: Handlers
    quarantine_deaths: int | None

    @property
    def lends(self) -> bool:
        """Whether other nodes may take messages that nobody here handles."""


class _Handout(NamedTuple):
    """A message on its way to a handler. `is_noted`: the store knows of it, since a process may have died of it.

    `line` is that of its group when it was taken: one that has left since, and joined again, has another.
    """

    group: str
    line: Line
    taken: Taken
    desk: Desk
    seat: Seat
    is_noted: bool


class _Result(NamedTuple):
    """What was made of a message; None: it was not handled after all."""

    handout: _Handout
    handled: Handled | None


class Groups:
    """Those of one partition. What they make of messages goes into the turns of the partition; `wake` asks for one."""

    __slots__ = (
        "_alarm",
        "_is_closed",
        "_lines",
        "_loaded",
        "_loans",
        "_log",
        "_noted",
        "_reports",
        "_results",
        "_services",
        "_tally",
        "_topic",
        "_wake",
        "_written",
    )

    def __init__(
        self, services: Services, topic: str, log: Log, waits: Sequence[Wait], wake: Callable[[], None]
    ) -> None:
        self._services = services
        self._topic = topic
        self._log = log
        self._loaded = position_of(log.next)
        self._wake = wake
        self._lines: dict[str, Line] = {}
        self._loans = Loans(waits)
        self._reports: list[Message] = []
        self._results: list[_Result] = []
        self._noted: list[_Handout] = []
        self._written: list[_Handout] = []
        self._tally = TopicMetrics()
        self._is_closed = False
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def is_at_rest(self) -> bool:
        """Whether all have come to the end, or nobody here would go on."""
        if self._results or self._noted or self._written:
            return False
        return all(self._rests(name, line) for name, line in self._lines.items())

    def _rests(self, name: str, line: Line) -> bool:
        if line.is_empty:
            return True
        is_all_lent = line.in_hand == self._loans.count(name) and line.next_due is None
        return is_all_lent and self._desk(name) is None

    @property
    def has_results(self) -> bool:
        return bool(self._results)

    @property
    def reports(self) -> Sequence[Message]:
        """What other nodes have said of messages that are not in memory yet."""
        return self._reports

    def close(self) -> None:
        """The partition leaves memory. What runs is handled again."""
        self._is_closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        for handout in (*self._noted, *self._written):
            handout.desk.leave(handout.seat)

    def take_tally(self) -> TopicMetrics:
        """What turns have brought since it was taken last."""
        tally, self._tally = self._tally, TopicMetrics()
        return tally

    # -- in a turn ------------------------------------------------------------------------------------------------

    def move(
        self, draft: Draft, log: Log, pages: dict[int, Page], reports: Sequence[Message], left: Collection[str]
    ) -> tuple[Log, list[str], bool]:
        """Carry out what was made of messages, and what can be at once. Groups that have `left` begin anew.

        Gives the log as it is then, the keys of reports that are dealt with, and whether anything has moved.
        """
        self._log = log
        is_moved = self._loans.forget(draft, log.groups.keys() - left)
        self._open_lines(pages, left)
        is_moved |= self._fold(draft)
        consumed, is_returned = self._take_back(draft, reports)
        is_moved |= is_returned | self._decide(draft) | self._lend(draft) | bool(self._noted)
        self._written += self._noted
        self._noted = []
        return self._log, consumed, is_moved

    def standing(self, log: Log) -> Log:
        """The log with the places that the groups have, as it is to be written."""
        groups = {name: self._standing(name, group) for name, group in log.groups.items()}
        return replace(log, groups=groups)

    def _standing(self, name: str, group: Group) -> Group:
        line = self._lines.get(name)
        return line.standing(group) if line is not None else group

    def _desk(self, group: str) -> Desk | None:
        return self._services.consumers.desk(self._topic, group)

    def _open_lines(self, pages: dict[int, Page], left: Collection[str]) -> None:
        """A line for each group whose receiver is here; those that have come to the end get what is appended."""
        self._lines = {name: line for name, line in self._lines.items() if name in self._log.groups.keys() - left}
        for name, group in self._log.groups.items():
            if name not in self._lines and (self._services.lends or self._desk(name) is not None):
                self._lines[name] = Line(group, self._loans.of(name), self._loaded)
        for line in self._lines.values():
            for number, page in pages.items():
                if number in line.wanted(number + 1):
                    line.feed(number, page)

    def _fold(self, draft: Draft) -> bool:
        """What handlers have made of their messages; whether there was any."""
        results, self._results = self._results, []
        for handout, handled in results:
            if not self._is_current(handout):
                continue
            if handled is None:
                handout.line.give_back(handout.taken.position)
            else:
                self._settle(draft, handout.group, handout.taken, handled)
        return bool(results)

    def _is_current(self, handout: _Handout) -> bool:
        """Whether its group has not left since."""
        return self._lines.get(handout.group) is handout.line

    def _take_back(self, draft: Draft, reports: Sequence[Message]) -> tuple[list[str], bool]:
        """What other nodes have made of messages. What is not in memory yet waits for that."""
        reports, self._reports = [*self._reports, *reports], []
        consumed: list[str] = []
        is_moved = False
        for report in reports:
            place = self._loans.place(report.event.number) if report.execution == draft.head.execution else None
            line = self._lines.get(place[0]) if place is not None else None
            if place is not None and line is not None and not line.is_restored:
                self._reports.append(report)
                continue
            consumed += [report.key] if report.key is not None else []
            is_moved = True
            if place is not None and line is not None:
                self._loans.end(draft, report.event.number)
                self._returned(draft, place, line, handled_of(report.event))
        return consumed, is_moved

    def _returned(self, draft: Draft, place: tuple[str, int], line: Line, handled: Handled | None) -> None:
        name, position = place
        if handled is None:
            line.put_back(position)
        else:
            self._settle(draft, name, line.taken(position), handled)

    def _decide(self, draft: Draft) -> bool:
        """Carry out at once what can be; whether there was any."""
        is_moved = False
        for name, line in self._lines.items():
            desk = self._desk(name)
            for _ in range(DECISIONS_MAX if desk is not None else 0):
                assert desk is not None
                taken = line.take(draft.at)
                if taken is None:
                    break
                handled = self._decided(name, desk, taken, draft.at)
                if handled is None:
                    line.put_back(taken.position)
                    break
                self._settle(draft, name, taken, handled)
                is_moved = True
        return is_moved

    def _lend(self, draft: Draft) -> bool:
        """Offer messages to other nodes that nobody here handles; whether there was any."""
        is_moved = False
        for name, line in self._lines.items() if self._services.lends else ():
            if self._desk(name) is None:
                is_moved |= self._lend_of(draft, name, line)
        return is_moved

    def _lend_of(self, draft: Draft, name: str, line: Line) -> bool:
        """One suspect at a time, because those that wait for each other elsewhere would be suspected the more."""
        is_moved = False
        waiting: list[int] = []
        while self._loans.count(name) < LOANS_MAX and len(waiting) < LOANS_MAX:
            taken = line.take(draft.at)
            if taken is None:
                break
            if _is_expired(taken, draft.at):
                self._settle(draft, name, taken, EXPIRED)
            elif taken.unheard and self._loans.has_suspect:
                waiting.append(taken.position)
                continue
            else:
                options = self._log.groups[name].options
                self._loans.lend(draft, name, taken, options.timeout, self._deaths_max_behind(options))
            is_moved = True
        for position in reversed(waiting):
            line.put_back(position)
        return is_moved

    def _settle(self, draft: Draft, name: str, taken: Taken, handled: Handled) -> None:
        """One message is done, or comes again, or is a dead letter."""
        if handled.unheard is not None:
            self._come_again(draft, name, taken, handled.unheard, handled.reason or "nothing was heard of it")
            return
        line, group, failed = self._lines[name], self._log.groups[name], taken.failed + 1
        options = group.options
        if handled.verdict == Verdict.RETRY and failed < options.attempts_max:
            self._tally.failed[name] += 1
            line.retry(taken.position, draft.at + options.pause(failed))
            why = f"attempt {failed} of {options.attempts_max}: {handled.reason or 'the receiver asks for it again'}"
            log.warning("a message of %s comes again to %s: %s: %s", self._topic, name, taken.message.id, why)
            return
        line.done(taken.position)
        if handled.verdict == Verdict.SUCCESS:
            self._tally.delivered[name] += 1
            carry_out(draft, taken.message, name, handled)
            group = replace(group, left=group.left - 1)
        else:
            reason = handled.reason or "the receiver has dropped it"
            log.warning("a message of %s is a dead letter of %s: %s: %s", self._topic, name, taken.message.id, reason)
            self._tally.dead[name] += 1
            give_up(draft, taken.message, name, options.dead_letter, reason)
            group = replace(group, left=group.left - 1, dead=group.dead + 1)
        self._log = replace(self._log, groups={**self._log.groups, name: group})

    def _come_again(self, draft: Draft, name: str, taken: Taken, deaths: int, reason: str) -> None:
        """Nothing was heard of a message, which is no attempt that has failed."""
        pause = round(PUT_OFF_SECONDS * SECOND)
        if deaths:
            pause = self._log.groups[name].options.pause(taken.unheard + deaths)
            self._tally.failed[name] += 1
            log.warning("a message of %s comes again to %s: %s: %s", self._topic, name, taken.message.id, reason)
        self._lines[name].unheard(taken.position, deaths, draft.at + pause)

    def _decided(self, name: str, desk: Desk, taken: Taken, now: int) -> Handled | None:
        """What follows from a message without a handler; None: it has to be asked."""
        if _is_expired(taken, now):
            return EXPIRED
        if self._course(name, desk, taken) is Course.SET_ASIDE:
            return conviction(taken.unheard)
        if self._is_doubtful(name, desk, taken):
            return None  # because deciding may be what kills, and is noted before it is tried, as any handling
        try:
            return desk.decide(taken.message)
        except Exception as error:  # noqa: BLE001 because it is the user's expression that does not fit the message
            return again(error)

    def _is_doubtful(self, name: str, desk: Desk, taken: Taken) -> bool:
        """Whether this process may die of a message as the last owner may have done."""
        may_kill = self._services.quarantine_deaths is not None and not desk.is_remote
        return may_kill and self._lines[name].is_doubtful(taken.position)

    def _course(self, name: str, desk: Desk, taken: Taken) -> Course:
        if desk.is_remote:
            return course_behind(taken.unheard, self._deaths_max_behind(self._log.groups[name].options))
        return course_of(taken.unheard, self._services.quarantine_deaths)

    def _deaths_max_behind(self, options: SubscribeOptions) -> int:
        return deaths_max_behind(options, is_judged=self._services.consumers.quarantines_workers)

    # -- between turns: all that is in memory is durable -----------------------------------------------------------

    def go_on(self, durable: int) -> Iterator[tuple[str, list[int]]]:
        """Hand out what may be. Gives the groups that want pages of those before `durable`, with their numbers."""
        now = self._services.clock.now()
        written, self._written = self._written, []
        for handout in written:
            if self._is_current(handout):
                self._begin(handout)
            else:
                handout.desk.leave(handout.seat)
        for name, line in self._lines.items():
            desk = self._desk(name)
            if desk is not None:
                self._hand_out(name, line, desk, now)
            if desk is not None or self._services.lends:
                yield name, line.wanted(durable)
        self._set_alarm(now)

    def halt(self) -> None:
        """The shard leaves: what was noted is not handed out any more."""
        written, self._written = self._written, []
        for handout in written:
            handout.desk.leave(handout.seat)
            self._results.append(_Result(handout, None))

    def _hand_out(self, name: str, line: Line, desk: Desk, now: int) -> None:
        while (taken := line.take(now)) is not None:
            if self._decided(name, desk, taken, now) is not None:
                line.put_back(taken.position)
                self._wake()  # because what is decided at once belongs into a turn
                return
            handout = self._entered(name, line, desk, taken)
            if handout is None:
                line.put_back(taken.position)
                return
            if not handout.is_noted:
                self._begin(handout)
                continue
            self._noted.append(handout._replace(taken=line.note(taken.position)))
            self._wake()  # because who is in hand at the next death is only known if it is written before

    def _entered(self, name: str, line: Line, desk: Desk, taken: Taken) -> _Handout | None:
        """The message with who is to handle it; None if there is no room."""
        is_noted = self._is_doubtful(name, desk, taken)
        is_suspect = (is_noted or taken.unheard > 0) and self._course(name, desk, taken) is Course.ALONE
        seat = desk.enter(self._wake, is_suspect=is_suspect)
        return _Handout(name, line, taken, desk, seat, is_noted) if seat is not None else None

    def _begin(self, handout: _Handout) -> None:
        timeout = self._log.groups[handout.group].options.timeout
        self._services.handlers.run(self._handle(handout, timeout))

    async def _handle(self, handout: _Handout, timeout: float) -> None:
        taken = handout.taken
        try:
            handled = await handled_by(handout.seat.consumer, taken.message, taken.failed + 1, timeout)
        except asyncio.CancelledError:
            if handout.is_noted:
                self._end(handout, None)  # because the store thinks that this process dies of it
            raise
        finally:
            handout.desk.leave(handout.seat)
        self._end(handout, handled)

    def _end(self, handout: _Handout, handled: Handled | None) -> None:
        if not self._is_closed:
            self._results.append(_Result(handout, handled))
            self._wake()

    def _set_alarm(self, now: int) -> None:
        """Wake when the next message is to be tried again."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        due = min((line.next_due for line in self._lines.values() if line.next_due is not None), default=None)
        if due is not None:
            self._alarm = asyncio.get_running_loop().call_later(max(0, due - now) / SECOND, self._wake)

    def feed(self, name: str, found: dict[int, Page | None]) -> None:
        """Pages that a group wanted have been read."""
        line = self._lines.get(name)
        if line is not None:
            for number, page in found.items():
                line.feed(number, page)

    def __repr__(self) -> str:
        return f"<Groups of {self._topic}: {self._lines!r}>"


def _is_expired(taken: Taken, now: int) -> bool:
    return taken.message.expires is not None and taken.message.expires <= now
