"""Records as the scripts take and keep them, and back: what a script must know stands in fields, the rest is JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from perdure.codec import Payload
from perdure.errors import AppReserved
from perdure.stores.contract import (
    ENTITY,
    FINISHED,
    Claim,
    Creation,
    End,
    Head,
    Item,
    Mail,
    Member,
    OpenCall,
    Place,
    Published,
    Reservation,
    Segment,
    Status,
    Stream,
    Track,
    Wait,
    Whole,
)
from perdure.stores.redis.keys import digits, number_of
from perdure.stores.redis.places import entries
from perdure.stores.rules import reserved_for

Home = Callable[[str, str], int]
"""The shard of an app's instance."""

_json = msgspec.json.Encoder().encode
_head: Callable[[bytes | str], Head] = msgspec.json.Decoder(Head).decode
_payload: Callable[[bytes | str], Payload] = msgspec.json.Decoder(Payload).decode
_reservation: Callable[[bytes], tuple[str, Reservation]] = msgspec.json.Decoder(tuple[str, Reservation]).decode
_member: Callable[[bytes], Member] = msgspec.json.Decoder(Member).decode


class StoredHead(msgspec.Struct, array_like=True, gc=False):
    """What turns look at; `flags` has a letter for each of finished, pending, suspended, stalled (T), entity and custom
    status."""

    execution: str
    generation: str
    sequence: str
    updated: str
    flags: str


class StoredFacts(msgspec.Struct, array_like=True, gc=False):
    """What they seldom do: the head as it was when a turn last brought one."""

    entries: list[str]
    head: str
    parent_call: str
    names: list[str]


class StoredWait(msgspec.Struct, array_like=True, gc=False):
    """A wait; what stands in `rest` counts where the field here is empty."""

    kind: str
    name: str
    state: str
    attempt: str
    due: str
    since: str
    token: str
    claimed_by: str
    claimed_until: str
    details: str
    on: str
    rest: str
    lapses: str = ""


class Rest(msgspec.Struct, omit_defaults=True, gc=False):
    """What no script looks at of a wait."""

    on: str | None = None
    line: str | None = None
    token: str | None = None
    claimed_by: str | None = None
    claimed_until: int | None = None
    details: Payload | None = None
    input: Payload | None = None
    options: str | None = None
    failure: str | None = None


class StoredMail(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """What no script looks at of a message."""

    event: str
    execution: str | None = None
    generation: int | None = None


class StoredItem(msgspec.Struct, array_like=True, gc=False):
    value: Payload
    attempt: int
    at: int


_stored_head = msgspec.msgpack.Decoder(StoredHead).decode
_stored_facts = msgspec.msgpack.Decoder(StoredFacts).decode
_stored_wait = msgspec.msgpack.Decoder(StoredWait).decode
_stored_mail = msgspec.json.Decoder(StoredMail).decode
_stored_item = msgspec.json.Decoder(StoredItem).decode
_rest = msgspec.json.Decoder(Rest).decode


def text(data: bytes) -> Raw:
    """Bytes of UTF-8 as MessagePack text, without decoding them; scripts cannot read its binaries."""
    length = len(data)
    if length < 1 << 8:
        return Raw(b"\xd9" + length.to_bytes(1, "big") + data)
    if length < 1 << 16:
        return Raw(b"\xda" + length.to_bytes(2, "big") + data)
    return Raw(b"\xdb" + length.to_bytes(4, "big") + data)


# -- heads


def head_fields(head: Head) -> list[Any]:
    """The head and its facts, which the script completes."""
    seen = [head.execution, str(head.generation), str(head.sequence), digits(head.updated), "".join(_flags(head))]
    return [seen, [entries(head), text(_json(head))]]


def _flags(head: Head) -> Iterator[str]:
    if head.status in FINISHED:
        yield "F"
    if head.status == Status.PENDING:
        yield "P"
    if head.suspended is not None:
        yield "S"
    if head.stalled is not None:
        yield "T"
    if head.kind == ENTITY:
        yield "E"
    if head.custom_status is not None:
        yield "C"


def head_of(packed: bytes, facts: bytes) -> Head:
    stored = _stored_head(packed)
    head = _head(_stored_facts(facts).head)
    sequence, updated = int(stored.sequence), number_of(stored.updated)
    if (sequence, updated) == (head.sequence, head.updated):
        return head
    return replace(head, sequence=sequence, updated=updated)


# -- waits


def wait_fields(wait: Wait) -> list[Any]:
    """The number, and what is kept under it."""
    rest = Rest(
        wait.on,
        wait.line,
        wait.token,
        wait.claimed_by,
        wait.claimed_until,
        wait.details,
        wait.input,
        None if wait.options is None else wait.options.decode(),
        None if wait.failure is None else wait.failure.decode(),
    )
    return [
        digits(wait.number),
        [
            wait.kind,
            wait.name,
            wait.state,
            str(wait.attempt),
            "" if wait.due is None else digits(wait.due),
            digits(wait.since),
            wait.token or "",
            wait.claimed_by or "",
            "" if wait.claimed_until is None else digits(wait.claimed_until),
            "",
            wait.on or "",
            text(_json(rest)),
            str(wait.lapses) if wait.lapses else "",
        ],
    ]


def wait_of(number: bytes, packed: bytes) -> Wait:
    stored = _stored_wait(packed)
    rest = _rest(stored.rest)
    return Wait(
        number_of(number),
        stored.kind,
        stored.name,
        number_of(stored.since),
        number_of(stored.due) if stored.due else None,
        rest.on,
        rest.line,
        int(stored.attempt),
        stored.state,
        stored.token or rest.token,
        stored.claimed_by or rest.claimed_by,
        number_of(stored.claimed_until) if stored.claimed_until else rest.claimed_until,
        _payload(stored.details) if stored.details else rest.details,
        rest.input,
        None if rest.options is None else rest.options.encode(),
        None if rest.failure is None else rest.failure.encode(),
        int(stored.lapses or 0),
    )


def details_field(details: Payload | None) -> Raw | bool:
    return False if details is None else text(_json(details))


def waits_of(fields: Sequence[bytes]) -> list[Wait]:
    """By number, of numbers and records in turn."""
    pairs = sorted(zip(fields[::2], fields[1::2], strict=True))
    return [wait_of(number, packed) for number, packed in pairs]


def open_calls_of(shard: int, parts: Sequence[bytes]) -> list[OpenCall]:
    """Of id, execution, generation, number and record in turn."""
    return [
        OpenCall(shard, id.decode(), execution.decode(), int(generation), wait_of(number, packed))
        for id, execution, generation, number, packed in zip(*[iter(parts)] * 5, strict=True)
    ]


# -- mail


def mail_fields(mail: Mail) -> list[Any]:
    record = StoredMail(mail.event.decode(), mail.execution, mail.generation)
    return [
        mail.instance,
        mail.key,
        mail.execution is not None,
        text(digits(mail.at).encode() + _json(record)),
    ]


def mails_of(instance: str, fields: Sequence[bytes]) -> list[Mail]:
    """In order of arrival, of keys and records in turn."""
    pairs = sorted(zip(fields[1::2], fields[::2], strict=True), key=lambda pair: pair[0][:16])
    return [_mail_of(instance, key.decode(), record) for record, key in pairs]


def _mail_of(instance: str, key: str, record: bytes) -> Mail:
    stored, at = _stored_mail(record[32:]), number_of(record[16:32])
    return Mail(instance, key, stored.event.encode(), at, stored.execution, stored.generation)


# -- the rest


def creation_fields(creation: Creation, home: Home, app: str) -> list[Any]:
    """`app` is that of the sender, for whom a refusal without an app of its own is."""
    refusal, claim = creation.refusal, creation.claim
    return [
        creation.head.id,
        head_fields(creation.head),
        [wait_fields(wait) for wait in creation.waits],
        creation.parent_call or "",
        mail_fields(creation.mail),
        creation.unique,
        creation.joins,
        0 if refusal is None else home(refusal.app or app, refusal.instance),
        False if refusal is None else mail_fields(refusal),
        False if claim is None else [claim.name, digits(claim.until), claim.while_pending],
    ]


def segment_of(record: bytes) -> Segment:
    return Segment(number_of(record[:16]), record[16:])


def end_of(
    packed: bytes | None, facts: bytes | None = None, first: bytes | None = None, last: bytes | None = None
) -> End:
    """What has become of a run, as a script tells it."""
    if packed is None or facts is None:
        return End()
    try:
        head = head_of(packed, facts)
    except ValueError:
        return End(is_unreadable=True)
    return End(head, None if first is None else first[16:], None if last is None else last[16:])


def item_fields(value: Payload, attempt: int, at: int) -> Raw:
    return text(_json(StoredItem(value, attempt, at)))


def item_of(offset: int, record: bytes) -> Item:
    stored = _stored_item(record)
    return Item(offset, stored.value, stored.attempt, stored.at)


def generation_of(packed: bytes) -> int:
    """That of an instance that runs; of a finished one 0, which no stream has."""
    stored = _stored_head(packed)
    return 0 if "F" in stored.flags else int(stored.generation)


def stream_of(current: int, open_numbers: set[int], place: bytes, name: bytes, length: int) -> Stream:
    generation, number = map(int, place.split(b":"))
    is_open = generation == current and number in open_numbers
    return Stream(generation, number, name.decode(), length, is_open)


def kept(record: bytes) -> AppReserved:
    """What to raise for an app that is kept for a move; nothing is kept any more if the record is empty."""
    if not record:
        return AppReserved("the app is not kept for this move any more; run `perdure move` again")
    app, reservation = _reservation(record)
    return reserved_for(app, reservation)


def reservation_fields(app: str, reservation: Reservation) -> str:
    return _json((app, reservation)).decode()


def reservation_of(record: bytes) -> Reservation:
    return _reservation(record)[1]


def whole_fields(whole: Whole) -> list[Any]:
    return [
        whole.head.id,
        head_fields(whole.head),
        whole.parent_call or "",
        [text(digits(segment.sequence).encode() + segment.events) for segment in whole.segments],
        [wait_fields(wait) for wait in whole.waits],
        [mail_fields(mail) for mail in whole.mail],
        whole.seen,
        [[one.name, text(one.value), one.answer] for one in whole.published],
        [
            [f"{track.generation}:{track.number}", track.name, [_item_text(item) for item in track.items]]
            for track in whole.tracks
        ],
        [[claim.name, digits(claim.until)] for claim in whole.claims],
    ]


def _item_text(item: Item) -> Raw:
    return item_fields(item.value, item.attempt, item.at)


def whole_of(id: str, parts: Sequence[Any]) -> Whole:
    head, facts, segments, mail, waits, seen, plain, names, answers, streams, items, claims = parts
    shown = sorted(zip(plain[::2], plain[1::2], strict=True))
    tracks = [_track(place, name, found) for place, name, found in zip(streams[::2], streams[1::2], items, strict=True)]
    return Whole(
        head_of(head, facts),
        _stored_facts(facts).parent_call or None,
        [segment_of(record) for record in segments],
        waits_of(waits),
        mails_of(id, mail),
        [key.decode() for key in seen],
        [Published(name.decode(), value) for name, value in shown]
        + [Published(name.decode(), value, answer=True) for name, value in zip(names, answers, strict=True)],
        sorted(tracks, key=lambda track: (track.generation, track.number)),
        [Claim(n.decode(), number_of(till)) for n, till in sorted(zip(claims[::2], claims[1::2], strict=True))],
    )


def _track(place: bytes, name: bytes, records: Sequence[bytes]) -> Track:
    generation, number = map(int, place.split(b":"))
    return Track(
        generation, number, name.decode(), [item_of(offset, record) for offset, record in enumerate(records, 1)]
    )


def place_of(id: bytes, packed: bytes) -> Place:
    stored = _stored_head(packed)
    is_finished = "F" in stored.flags
    return Place(id.decode(), stored.execution, int(stored.generation), int(stored.sequence), is_finished)


def member_fields(member: Member) -> bytes:
    return _json(member)


def member_of(record: bytes, about: bytes | None) -> Member:
    return replace(_member(record[16:]), until=number_of(record[:16]), about=about)
