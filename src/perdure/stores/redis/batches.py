"""A batch as the script of commits takes it, and what its answer means. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Raw

from perdure.stores.contract import Append, Batch, Outcome, Permit, Turn
from perdure.stores.redis.keys import app_channel, digits, number_of
from perdure.stores.redis.records import Home, creation_fields, head_fields, item_fields, mail_fields, text, wait_fields
from perdure.stores.shard_ids import app_number

ROW_BYTES_MAX = 64 * 1024 * 1024
"""Bound of what one turn or append brings; the server refuses calls of 512 MB."""

COMMIT_BYTES_MAX = 256 * 1024 * 1024
"""Bound of one call of a commit."""

_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Letter:
    """What a commit sends to another shard, under its number in the sender's outbox; about how many bytes."""

    receiver: int
    number: int
    record: Any
    size: int = 0


@dataclass(slots=True)
class Written:
    """A batch on its way: what the script is given, and what is known of its turns without asking it."""

    batch: Batch
    arguments: list[Any]
    outcomes: list[Outcome | None]
    size: int = 0
    created: dict[int, list[tuple[int, Any]]] = field(default_factory=dict)
    sent: dict[int, list[tuple[int, Any]]] = field(default_factory=dict)


def written(batch: Batch, token: str, series: int, home: Home, row_bytes_max: int = ROW_BYTES_MAX) -> Written:
    """The batch for the script, but for what is too large, which has its outcome already."""
    here = batch.lease.shard
    found = Written(batch, [], [None] * (len(batch.turns) + len(batch.appends)))
    turns, appends = [], []
    for place, turn in enumerate(batch.turns):
        created = [
            (home(one.head.app, one.head.id), creation_fields(one, home, batch.lease.app)) for one in turn.created
        ]
        sent = [(home(mail.app or batch.lease.app, mail.instance), mail_fields(mail)) for mail in turn.mail]
        packed = _encode(_turn_fields(turn, created, sent))
        if len(packed) > row_bytes_max:
            found.outcomes[place] = Outcome.TOO_LARGE
            continue
        found.size += len(packed)
        turns.append(Raw(packed))
        found.created[place] = [one for one in created if one[0] != here]
        found.sent[place] = [one for one in sent if one[0] != here]
    for place, append in enumerate(batch.appends, len(batch.turns)):
        packed = _encode(_append_fields(append))
        if len(packed) > row_bytes_max:
            found.outcomes[place] = Outcome.TOO_LARGE
        else:
            found.size += len(packed)
            appends.append(Raw(packed))
    found.arguments = [batch.lease.epoch, token, turns, appends, here, app_channel(app_number(here)), series]
    return found


def outcomes_of(asked: Written, answer: Sequence[Any]) -> tuple[list[Outcome], list[Letter], bool]:
    """What became of the turns and appends, what went to the outbox, and whether more did that only the store knows."""
    if answer[0] == b"fenced":
        return [Outcome.FENCED] * len(asked.outcomes), [], False
    said = iter([*answer[0], *answer[1]])
    outcomes = [Outcome(next(said).decode()) if known is None else known for known in asked.outcomes]
    letters: list[Letter] = []
    if answer[2]:
        committed = [place for place in asked.created if outcomes[place] is Outcome.COMMITTED]
        first = number_of(answer[2])
        records = [one for part in (asked.created, asked.sent) for place in committed for one in part[place]]
        size = asked.size // len(records)
        letters = [
            Letter(receiver, first + number, [record], size) for number, (receiver, record) in enumerate(records)
        ]
    return outcomes, letters, bool(answer[3])


def _turn_fields(turn: Turn, created: list[tuple[int, Any]], sent: list[tuple[int, Any]]) -> list[Any]:
    return [
        turn.id,
        turn.execution,
        str(turn.generation),
        False if turn.expected is None else str(turn.expected),
        digits(turn.at),
        [
            False if turn.head is None else head_fields(turn.head),
            False if turn.segment is None else text(digits(_sequence(turn)).encode() + turn.segment),
            [digits(number) for number in turn.closed],
            [wait_fields(wait) for wait in turn.changed],
            [wait_fields(wait) for wait in turn.opened],
            turn.consumed,
            turn.seen,
            [[one.name, text(one.value), one.answer] for one in turn.published],
            list(_permits(turn.permits)),
            turn.erase,
            created,
            sent,
            [[notice.instance, text(notice.event)] for notice in turn.notices],
        ],
    ]


def _sequence(turn: Turn) -> int:
    """That of the head after the turn."""
    return turn.head.sequence if turn.head is not None else (turn.expected or 0) + 1


def _permits(permits: Sequence[Permit]) -> Iterator[list[str]]:
    for permit in permits:
        yield [permit.queue, digits(permit.until), digits(permit.at)]


def _append_fields(append: Append) -> list[Any]:
    return [
        append.id,
        append.execution,
        str(append.generation),
        digits(append.number),
        str(append.attempt),
        append.after,
        str(append.number),
        [item_fields(value, append.attempt, append.at) for value in append.values],
    ]
