"""What a topic is to others: the ids of its partitions, which message goes where, and how it is sent."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import msgspec

from perdure.history.actions import PublishMessage
from perdure.history.draft import Draft
from perdure.history.entities import hashed
from perdure.history.events import GroupJoined, GroupLeft, MessagePublished, encode_event
from perdure.stores.contract import ENTITY, Creation, Head, Mail, Status

NAME = "perdure.topic"
"""The name of the actors that are partitions of topics."""
TOPIC = f"@{NAME}@"
"""How their ids begin: those of entities that no code operates."""
PARTITIONS = 8
"""Actors that share the messages of a topic by key, so that several nodes deliver them. It never changes, because a key
that moved would lose its order."""
SHARED_APP = "perdure.pubsub"
"""The app of which the topics are that all apps of a server share; nobody means it who names no app."""
DEAD_REASON, DEAD_TOPIC, DEAD_GROUP = "deadletterreason", "deadlettertopic", "deadlettergroup"
"""Extension attributes of a dead letter: why it is one, and where it came from."""
DEAD_TIMES = "deadlettertimes"
"""Extension attribute of a dead letter: how often it has become one, its way here included."""
DEAD_TIMES_MAX = 5
"""How often a message is sent on to a dead letter topic; topics may be each other's, and it would go round for ever."""


def is_topic(id: str) -> bool:
    """Whether an id is a partition's."""
    return id.startswith(TOPIC)


def partition_ids(topic: str) -> list[str]:
    """The actors of a topic."""
    return [f"{TOPIC}{topic}/{number}" for number in range(PARTITIONS)]


def topic_of(id: str) -> str:
    """The topic of which `id` is a partition."""
    return id.removeprefix(TOPIC).rpartition("/")[0]


def partition_of(message: MessagePublished) -> str:
    """The actor that a message goes to: by its key, or, because no order is promised without one, by its id."""
    text = message.key if message.key is not None else message.id
    return f"{TOPIC}{message.topic}/{zlib.crc32(text.encode()) % PARTITIONS}"


def message_key(message: MessagePublished) -> str:
    """The id of its mail: the same for the same event, so that the topic's memory of what it has seen knows it."""
    event = hashed(f"{message.source}\0{message.id}")
    return f"publish.{event}"


def topic_head(app: str, id: str, execution: str, at: int) -> Head:
    """The head of a partition that has taken no turn yet."""
    return Head(id, app, NAME, Status.PENDING, execution, 1, 0, created=at, updated=at, kind=ENTITY)


def mail_of(event: MessagePublished | GroupJoined | GroupLeft, id: str, key: str, at: int) -> Mail:
    """What a client sends to a partition."""
    return Mail(id, key, encode_event(event), at)


def creation_of(app: str, mail: Mail) -> Creation:
    """The partition, brought about by its first mail, or that mail for the one that is there."""
    execution = hashed(f"{mail.instance}/{mail.key}")
    return Creation(topic_head(app, mail.instance, execution, mail.at), mail, joins=True)


def publish_message(draft: Draft, action: PublishMessage) -> None:
    """Have the turn of a run publish: history has the message, and the commit of the turn sends it."""
    message = _message(draft, action)
    draft.events.append(message)
    if action.denied is None:
        publish(draft, message)


def publish(draft: Draft, message: MessagePublished) -> None:
    """Send a message with the commit of a turn.

    Its mail names a run, as replies do: so the bound of the mailbox does not drop it when nobody could be told.
    """
    head = draft.head
    sent = msgspec.structs.replace(message, number=None)
    id, key = partition_of(sent), message_key(sent)
    mail = Mail(id, key, encode_event(sent), draft.at, head.execution, head.generation)
    draft.created.append(creation_of(head.app, mail))


def _message(draft: Draft, action: PublishMessage) -> MessagePublished:
    head = draft.head
    id = hashed(f"{head.execution}.{head.generation}.{action.number}.{head.sequence}")
    message = message_of(action, draft.at, source=f"{head.app}/{head.id}", id=id)
    return msgspec.structs.replace(message, number=action.number, router=action.router)


def message_of(action: PublishMessage, at: int, *, source: str, id: str) -> MessagePublished:
    """The message that is asked for; with this source and id if the action names none."""
    return MessagePublished(
        at=at,
        topic=action.topic,
        id=action.id or id,
        data=action.data,
        content_type=action.content_type,
        key=action.key,
        source=action.source or source,
        kind=action.kind,
        expires=action.expires,
        extensions=action.extensions,
    )


def attempt_messages(
    asked: Sequence[PublishMessage], app: str, call: tuple[str, str, int, int], at: int
) -> list[MessagePublished]:
    """What an attempt of the call (instance, execution, generation, number) has published. The ids are the same for
    every attempt of it."""
    if not asked:
        return []  # because hardly any does
    instance, execution, generation, number = call
    of = f"{execution}.{generation}.{number}"
    return [
        message_of(one, at, source=f"{app}/{instance}", id=hashed(f"{of}.{index}")) for index, one in enumerate(asked)
    ]


def dead_times(message: MessagePublished) -> int:
    """How often it has become a dead letter so far."""
    told = (message.extensions or {}).get(DEAD_TIMES, "")
    return int(told) if told.isdecimal() and len(told) < 10 else 0


def dead_letter(message: MessagePublished, topic: str, group: str, reason: str, at: int) -> MessagePublished:
    """The message as it goes to a dead letter topic, where its time to live ends no more."""
    times = str(dead_times(message) + 1)
    told = {DEAD_REASON: reason[:1_000], DEAD_TOPIC: message.topic, DEAD_GROUP: group, DEAD_TIMES: times}
    extensions = {**(message.extensions or {}), **told}
    # with the group in its id, because two groups may give up the same message
    id = hashed(f"{message.topic}\0{group}\0{message.source}\0{message.id}")
    return msgspec.structs.replace(message, at=at, topic=topic, id=id, expires=None, extensions=extensions)
