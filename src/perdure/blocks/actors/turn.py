"""What a method of an actor asks for while it runs, to be written with its turn, and how its requests are named."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from perdure.blocks.actors.timers import TIMERS_MAX, Timers
from perdure.clock import Clock
from perdure.codec import Payload, Writer
from perdure.errors import InvalidArgument
from perdure.history.actions import ClearReminder, CreateDetached, PublishMessage, SetReminder, SignalEntity
from perdure.history.delayed import REMINDERS_MAX
from perdure.sdk.outgoing import OUTGOING
from perdure.sdk.publishing import OUTBOX, Outbox

MESSAGES_MAX = 1_000
"""Messages, starts and reminders of one turn."""

Asked = SignalEntity | CreateDetached | SetReminder | ClearReminder | PublishMessage


class Turn:
    """One method of one actor under way, or its activation.

    `request` names it, so that what it asks others has the same names when it is run again. `chain`: the actors whose
    methods wait for it, itself last. `reminders` and `timers`: names of those that are set, as the turn leaves them.
    """

    __slots__ = (
        "_calls",
        "_open",
        "actions",
        "actor",
        "chain",
        "is_lost",
        "now",
        "reminders",
        "request",
        "set_timers",
        "timers",
    )

    def __init__(
        self,
        actor: str,
        request: str,
        clock: Clock,
        chain: Collection[str] = (),
        reminders: Collection[str] = (),
        timers: Collection[str] = (),
    ) -> None:
        self.actor = actor
        self.request = request
        self.now = clock.now
        self.chain = [*chain, actor]
        self.reminders = set(reminders)
        self.actions: list[Asked] = []
        self.timers = set(timers)
        self.set_timers: list[Callable[[Timers], None]] = []
        """What becomes of timers once the method has succeeded."""
        self.is_lost = False
        """Whether something that it asked for brought no answer: if it fails, it is run again."""
        self._calls = 0
        self._open = True

    def next_request(self) -> str:
        """The name of what is asked next."""
        self.check()
        self._calls += 1
        return f"{self.actor}/{self.request}.{self._calls}"

    def record(self, action: Asked) -> None:
        """Let it be written with the turn. Raises InvalidArgument beyond MESSAGES_MAX."""
        self.check()
        if len(self.actions) >= MESSAGES_MAX:
            raise InvalidArgument(f"a turn of {self.actor} asks for more than {MESSAGES_MAX:,} messages; send fewer")
        self.actions.append(action)

    def remind(self, asked: SetReminder) -> None:
        """Set a reminder with the turn. Raises InvalidArgument beyond REMINDERS_MAX."""
        if asked.name not in self.reminders and len(self.reminders) >= REMINDERS_MAX:
            raise InvalidArgument(f"{self.actor} has {REMINDERS_MAX:,} reminders; cancel one before it sets another")
        self.record(asked)
        self.reminders.add(asked.name)

    def start_timer(self, name: str, method: str, input: Payload, due: float, period: float | None) -> None:
        """Start a timer once the method has succeeded. Raises InvalidArgument beyond TIMERS_MAX."""
        self.check()
        if name not in self.timers and len(self.timers) >= TIMERS_MAX:
            raise InvalidArgument(f"{self.actor} has {TIMERS_MAX:,} timers; cancel one before it starts another")
        self.timers.add(name)
        self.set_timers.append(lambda timers: timers.start(name, method, input, due, period))

    def stop_timer(self, name: str) -> None:
        """Stop a timer once the method has succeeded."""
        self.check()
        self.timers.discard(name)
        self.set_timers.append(lambda timers: timers.stop(name))

    def forget(self, name: str) -> None:
        """Cancel a reminder with the turn."""
        self.record(ClearReminder(name=name))
        self.reminders.discard(name)

    def check(self) -> None:
        """Raise InvalidArgument if the turn is over."""
        if not self._open:
            raise InvalidArgument(
                f"the method of {self.actor} that began this has returned; await what it starts before it returns"
            )

    def close(self) -> None:
        """The method has returned: what it left running asks for nothing any more."""
        self._open = False


TURN: contextvars.ContextVar[Turn | None] = contextvars.ContextVar("perdure_actor_turn", default=None)
"""The turn whose code is asking."""


class _Published(Outbox):
    """What a method publishes on topics."""

    __slots__ = ("_turn",)

    def __init__(self, turn: Turn, writer: Writer) -> None:
        super().__init__(writer)
        self._turn = turn

    def add(self, message: PublishMessage) -> None:
        self._turn.record(message)


@contextmanager
def entered(turn: Turn, writer: Writer) -> Iterator[None]:
    """Code inside asks in the name of the turn, which is over then."""
    own, shared, outbox = TURN.set(turn), OUTGOING.set(turn), OUTBOX.set(_Published(turn, writer))
    try:
        yield
    finally:
        turn.close()
        TURN.reset(own)
        OUTGOING.reset(shared)
        OUTBOX.reset(outbox)
