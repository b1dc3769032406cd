"""What follows from the handling of one message, all of it in the turn that moves the place of its group."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from perdure.codec import Payload
from perdure.history.actions import PublishMessage
from perdure.history.creation import asked_creation, asked_start
from perdure.history.draft import Draft
from perdure.history.entities import hashed, is_entity
from perdure.history.events import EventRaised, MessagePublished, encode_event
from perdure.history.subscribing import Verdict
from perdure.history.topics import DEAD_TIMES_MAX, dead_letter, dead_times, message_of, publish
from perdure.history.work import StartOptions
from perdure.stores.contract import Mail


class Start(msgspec.Struct, frozen=True):
    """A workflow that a message starts, under the id that the options name, once."""

    name: str
    input: Payload | None
    options: StartOptions


class Raise(msgspec.Struct, frozen=True):
    """An external event that a message raises on an instance."""

    instance: str
    name: str
    data: Payload | None = None


class Handled(msgspec.Struct, frozen=True):
    """What a receiver made of a message. `reason`: why it is to come again, or be a dead letter.

    `unheard`: nothing was heard of it, which is no attempt that has failed; so many processes have died with it in
    hand. None: it was.
    """

    verdict: Verdict = Verdict.SUCCESS
    reason: str | None = None
    starts: Sequence[Start] = ()
    raises: Sequence[Raise] = ()
    messages: Sequence[PublishMessage] = ()
    unheard: int | None = None


def lost(reason: str, deaths: int = 1) -> Handled:
    """So many processes have died with a message in hand; with none it was not given to anybody, and comes again."""
    return Handled(Verdict.RETRY, reason, unheard=deaths)


def carry_out(draft: Draft, message: MessagePublished, group: str, handled: Handled) -> None:
    """Start, raise and publish with the turn. Ids follow from message and group, so that once more changes nothing."""
    of = f"{message.topic}\0{group}\0{message.source}\0{message.id}"
    for number, start in enumerate(handled.starts):
        execution = hashed(f"{of}\0{number}")
        started = asked_start(start.name, start.input, start.options, execution, draft.at)
        new = asked_creation(draft.head.app, start.options.id or execution, started, start.options)
        draft.created.append(msgspec.structs.replace(new, unique=True))
    for number, raised in enumerate(handled.raises):
        if not is_entity(raised.instance):
            event = EventRaised(at=draft.at, name=raised.name, data=raised.data)
            key = hashed(f"{of}\0{number}")
            draft.mail.append(Mail(raised.instance, f"raise.{key}", encode_event(event), draft.at))
    for number, asked in enumerate(handled.messages):
        source = f"{draft.head.app}/{message.topic}/{group}"
        publish(draft, message_of(asked, draft.at, source=source, id=hashed(f"{of}\0{number}")))


def give_up(draft: Draft, message: MessagePublished, group: str, topic: str | None, reason: str) -> None:
    """Send a message on to the dead letter topic, if there is one, and if it has not gone round too often."""
    if topic is not None and dead_times(message) < DEAD_TIMES_MAX:
        publish(draft, dead_letter(message, topic, group, reason, draft.at))
