"""An instance as one document and back: what conditions ask for stands in fields, the rest is JSON text. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec
from bson import ObjectId
from msgspec import Raw
from msgspec.structs import replace

from perdure.codec import Payload
from perdure.stores.contract import (
    IN_QUEUE,
    OUT,
    Claim,
    Creation,
    Head,
    Item,
    Mail,
    Notice,
    Permit,
    Segment,
    Wait,
    WaitKind,
)
from perdure.stores.instance import Instance, Strand

INLINE_BYTES_MAX = 1_024
"""A longer payload is a document of its own, to which the instance's refers."""
ROW_BYTES_MAX = 12 * 1024 * 1024
"""Bound of what one turn or append brings, and of the document of one instance; a document of MongoDB has 16 MB."""
OPEN_MAX = 10_000
"""Bound of what one run waits for at once, because all of it is in one document: a turn that opens more is refused."""
MAPS = ("waits", "mail", "seen", "published", "answers", "streams", "outbox")
"""Fields of many entries, which are written one by one if they are few."""
ENTRIES_MAX = 40
"""So many entries are written one by one; of more, the whole maps are."""
OPTIONAL = ("ended", "parent", "parent_call", "token", "due", "claim", "claim_until", "tail")
"""Fields that go when there is nothing in them; fields of later versions stay."""
ASIDE = ("_id", "rev", "deaths", "accused", "accused_at", "judged", "kept")
"""Fields that no change of the instance writes."""
SEGMENTS = "s"
"""Under which name the segments of an instance are in the log."""
OUTBOX = "out"
"""Likewise of payloads of what is still to be sent."""
_REFERENCE = re.compile(r'\{"\\u0000":"([0-9a-f]{24})"\}')

Doc: TypeAlias = dict[str, Any]

_json = msgspec.json.Encoder().encode


class TooLarge(Exception):
    """The instance would not go into its document."""


class StoredWait(msgspec.Struct, omit_defaults=True, gc=False):
    number: int
    kind: str
    name: str
    since: int
    due: int | None = None
    on: str | None = None
    line: str | None = None
    attempt: int = 0
    state: str = "held"
    token: str | None = None
    claimed_by: str | None = None
    claimed_until: int | None = None
    details: Payload | None = None
    input: Payload | None = None
    options: Raw = Raw(b"null")
    failure: Raw = Raw(b"null")
    lapses: int = 0


class StoredMail(msgspec.Struct, array_like=True, gc=False):
    key: str
    at: int
    execution: str | None
    generation: int | None
    event: Raw


class StoredValue(msgspec.Struct, array_like=True, gc=False):
    name: str
    value: Raw


class StoredStream(msgspec.Struct, array_like=True, gc=False):
    """The items at hand, which are the newest; `before` are rows of the log."""

    generation: int
    number: int
    name: str
    before: int
    items: list[Item]


class Letter(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a turn sends, until it has arrived: a creation, a message, starts that count for a rate, or a notice with
    its number.

    `refused` is a creation that was, so that only its refusal is left to be sent. `at` is the time of the turn.
    """

    app: str
    at: int
    creation: Creation | None = None
    mail: Mail | None = None
    permits: list[Permit] = []
    notice: Notice | None = None
    number: int = 0
    refused: bool = False

    @property
    def receiver(self) -> tuple[str, str]:
        """App and id of the instance that it is for; of starts that count for a rate, of none."""
        if self.creation is not None:
            return self.creation.head.app, self.creation.head.id
        return (self.app, "") if self.mail is None else (self.mail.app or self.app, self.mail.instance)


_head_of: Callable[[str], Head] = msgspec.json.Decoder(Head).decode
_wait_of = msgspec.json.Decoder(StoredWait).decode
_mail_of = msgspec.json.Decoder(StoredMail).decode
_value_of = msgspec.json.Decoder(StoredValue).decode
_stream_of = msgspec.json.Decoder(StoredStream).decode
_item_of: Callable[[str], Item] = msgspec.json.Decoder(Item).decode
_fields_of: Callable[[str | bytes], dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw]).decode
_letter_of: Callable[[str], Letter] = msgspec.json.Decoder(Letter).decode


@dataclass(slots=True)
class Document:
    """An instance with what its document knows beside: which life of its id it is, and what it has still to send.

    `first` is the sequence of the first segment of its generation, `count` how many there are. `keeps` is the move that
    brought it here. `held` is what it was read from, `read` its waits then.
    """

    shard: int
    instance: Instance
    life: str
    rev: int = 0
    first: int = 0
    count: int = 0
    token: str | None = None
    outbox: dict[str, str] = field(default_factory=dict)
    claim: Claim | None = None
    keeps: str | None = None
    read: dict[int, Wait] = field(default_factory=dict)
    held: Doc = field(default_factory=dict)

    @property
    def key(self) -> str:
        return key_of(self.shard, self.instance.head.id)

    @property
    def is_new(self) -> bool:
        """Whether it takes the place of what was read, and goes on from nothing."""
        return self.held.get("life") != self.life


@dataclass(slots=True)
class Writing:
    """How a document gets into the database: what must be there before it, and what is of no use after it."""

    doc: Doc
    log: list[Doc] = field(default_factory=list)
    payloads: list[Doc] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    sweeps: list[Doc] = field(default_factory=list)


def key_of(shard: int, id: str) -> str:
    return f"{shard}|{id}"


def new(shard: int, instance: Instance, before: Document | None, held: Doc | None, claim: Claim | None) -> Document:
    """An instance that begins, where `before` was or something that is no instance; what that has to send stays."""
    outbox = dict(before.outbox) if before is not None else {}
    first = instance.head.sequence
    return Document(shard, instance, str(ObjectId()), first=first, count=0, outbox=outbox, claim=claim, held=held or {})


# -- from the database


def document_of(doc: Doc) -> Document:
    """What is in a payload document stays a reference until it is resolved."""
    tail = doc.get("tail")
    streams = map(_stream_of, doc["streams"].values())
    waits = (wait_of(text) for text in doc["waits"].values())
    id = doc["id"]
    instance = Instance(
        _head_of(doc["head"]),
        doc.get("parent_call"),
        [] if tail is None else [Segment(tail["n"], tail["e"].encode())],
        {wait.number: wait for wait in waits},
        {mail.key: mail for mail in (mail_of(id, text) for text in _in_order(doc["mail"]))},
        dict.fromkeys(_in_order(doc["seen"])),
        {value.name: bytes(value.value) for value in map(_value_of, _in_order(doc["published"]))},
        {value.name: bytes(value.value) for value in map(_value_of, _in_order(doc["answers"]))},
        {(one.generation, one.number): Strand(one.name, one.items, one.before) for one in streams},
    )
    name, until = doc.get("claim"), doc.get("claim_until", 0)
    claim = None if name is None else Claim(name.partition("|")[2], until)
    return Document(
        doc["shard"],
        instance,
        doc["life"],
        doc["rev"],
        doc["first"],
        doc["count"],
        doc.get("token"),
        dict(doc["outbox"]),
        claim,
        read=dict(instance.waits),
        held=doc,
    )


def is_there(doc: Doc | None) -> bool:
    """Whether the document is an instance, and none that keeps its place against one who has lost the shard."""
    return doc is not None and "life" in doc


def head_of(doc: Doc) -> Head:
    return _head_of(doc["head"])


def wait_of(text: str) -> Wait:
    stored = _wait_of(text)
    return Wait(
        stored.number,
        stored.kind,
        stored.name,
        stored.since,
        stored.due,
        stored.on,
        stored.line,
        stored.attempt,
        stored.state,
        stored.token,
        stored.claimed_by,
        stored.claimed_until,
        stored.details,
        stored.input,
        _bytes(stored.options),
        _bytes(stored.failure),
        stored.lapses,
    )


def mail_of(instance: str, text: str) -> Mail:
    stored = _mail_of(text)
    return Mail(instance, stored.key, bytes(stored.event), stored.at, stored.execution, stored.generation)


def letter_of(text: str) -> Letter:
    return _letter_of(text)


def letter_text(letter: Letter) -> str:
    return _json(letter).decode()


def item_of(text: str) -> Item:
    return _item_of(text)


def _bytes(raw: Raw) -> bytes | None:
    found = bytes(raw)
    return None if found == b"null" else found


def _in_order(entries: Mapping[str, str]) -> list[str]:
    return [entries[name] for name in sorted(entries, key=_number)]


def _number(name: str) -> int:
    return int(name[1:])


# -- references


def references(value: Any) -> Iterator[str]:
    """The ids of all payload documents that the document, or a part of it, refers to."""
    match value:
        case str():
            if "\\u0000" in value:
                yield from _REFERENCE.findall(value)
        case dict():
            for one in value.values():
                yield from references(one)
        case list():
            for one in value:
                yield from references(one)


def resolved(value: Any, payloads: Mapping[str, str]) -> Any:
    """The same with what is referred to in its place. Raises KeyError if it is not among the payloads."""
    match value:
        case str():
            return _REFERENCE.sub(lambda found: payloads[found[1]], value) if "\\u0000" in value else value
        case dict():
            return {name: resolved(one, payloads) for name, one in value.items()}
        case list():
            return [resolved(one, payloads) for one in value]
        case _:
            return value


class _Shelf:
    """Puts what is long into documents of its own."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._known = set(references(document.held))
        self.payloads: list[Doc] = []

    def put(self, data: bytes, track: str = "", place: int = 0) -> str:
        """The data as text, or a reference; what is one already stays."""
        text = data.decode()
        found = _REFERENCE.fullmatch(text) if text.startswith('{"\\u0000"') else None
        if len(data) <= INLINE_BYTES_MAX and "\\u0000" not in text:
            return text
        if found is not None and found[1] in self._known:
            return text
        if len(data) > ROW_BYTES_MAX:
            raise TooLarge
        id = str(ObjectId())
        of = self._document
        self.payloads.append({"_id": id, "l": of.life, "t": track, "n": place, "d": text})
        return f'{{"\\u0000":"{id}"}}'

    def raw(self, data: bytes | None) -> Raw:
        return Raw(b"null" if data is None else self.put(data).encode())

    def payload(self, payload: Payload | None, track: str = "", place: int = 0) -> Payload | None:
        if payload is None:
            return None
        return replace(payload, data=Raw(self.put(bytes(payload.data), track, place).encode()))


# -- into the database


def writing(document: Document, bytes_max: int = ROW_BYTES_MAX) -> Writing:
    """How to write the document. Raises TooLarge."""
    instance, held = document.instance, document.held
    if len(instance.waits) > OPEN_MAX:
        raise TooLarge
    shelf = _Shelf(document)
    log = list(_log(document, shelf))
    was: Doc = {} if document.is_new else held

    def mail_text(key: str) -> str:
        return _mail_text(instance.mail[key], shelf)

    doc: Doc = {
        "_id": document.key,
        "shard": document.shard,
        "id": instance.head.id,
        "life": document.life,
        "rev": document.rev + 1,
        **_facts(document),
        "head": _json(replace(instance.head, custom_status=shelf.payload(instance.head.custom_status))).decode(),
        "waits": {f"_{number}": _wait_text(document, wait, shelf) for number, wait in instance.waits.items()},
        "mail": _numbered(was, "mail", lambda entry: _mail_of(entry).key, instance.mail, mail_text),
        "seen": _numbered(was, "seen", str, instance.seen, str),
        "published": _values(was, "published", instance.published, shelf),
        "answers": _values(was, "answers", instance.answers, shelf),
        "streams": {f"_{key[0]}_{key[1]}": _stream_text(document, key, shelf) for key in instance.streams},
        "outbox": {name: shelf.put(text.encode(), OUTBOX) for name, text in document.outbox.items()},
    }
    if instance.segments:
        tail = instance.segments[-1]
        doc["tail"] = {"n": tail.sequence, "e": shelf.put(tail.events, SEGMENTS, tail.sequence)}
    if document.keeps is not None:
        doc["kept"] = document.keeps
    if _size(doc) > bytes_max:
        raise TooLarge
    found = Writing(doc, log, shelf.payloads)
    used = {*references(doc), *references(log)}
    found.unused = [id for id in references(held) if id not in used]
    found.sweeps = list(_sweeps(document))
    return found


def _facts(document: Document) -> Doc:
    """What conditions ask for."""
    instance, head = document.instance, document.instance.head
    found: Doc = {
        "app": head.app,
        "name": head.name,
        "kind": head.kind,
        "status": str(head.status),
        "open": not instance.finished,
        "created": head.created,
        "ended": head.finished,
        "parent": head.parent,
        "tags": [f"{name}={value}" for name, value in (head.tags or {}).items()],
        "suspended": head.suspended is not None,
        "stalled": head.stalled is not None,
        "execution": head.execution,
        "generation": head.generation,
        "sequence": head.sequence,
        "parent_call": instance.parent_call,
        "first": document.first,
        "count": document.count,
        "token": document.token,
        "flags": list(_flags(document)),
        "due": _due(instance),
    }
    if document.claim is not None:
        found |= {"claim": f"{document.shard}|{document.claim.name}", "claim_until": document.claim.until}
    return {name: value for name, value in found.items() if value is not None}


def _flags(document: Document) -> Iterator[str]:
    if document.outbox:
        yield "sends"
    instance = document.instance
    if instance.finished:
        return
    waits = instance.waits.values()
    if instance.mail:
        yield "mail"
    if any(wait.kind == WaitKind.ACTIVITY for wait in waits):
        yield "calls"
    if any(wait.state in IN_QUEUE for wait in waits):
        yield "queue"
    if any(wait.state in OUT for wait in waits):
        yield "offers"
    if instance.is_stranded:
        yield "stranded"


def _due(instance: Instance) -> int | None:
    """When its owner must look at it next."""
    waits = () if instance.finished else instance.waits.values()
    return min((wait.due for wait in waits if wait.due is not None and wait.state not in OUT), default=None)


def _wait_text(document: Document, wait: Wait, shelf: _Shelf) -> str:
    """As it was read, if nothing has changed it. What a later version keeps of it stays as it is."""
    before = None if document.is_new else document.held["waits"].get(f"_{wait.number}")
    if before is not None and document.read.get(wait.number) is wait:
        return str(before)
    text = _json(
        StoredWait(
            wait.number,
            wait.kind,
            wait.name,
            wait.since,
            wait.due,
            wait.on,
            wait.line,
            wait.attempt,
            wait.state,
            wait.token,
            wait.claimed_by,
            wait.claimed_until,
            shelf.payload(wait.details),
            shelf.payload(wait.input),
            shelf.raw(wait.options),
            shelf.raw(wait.failure),
            wait.lapses,
        )
    )
    if before is not None:
        kept: dict[str, Raw] = _fields_of(before)
        if unknown := {name: value for name, value in kept.items() if name not in StoredWait.__struct_fields__}:
            return _json(_fields_of(text) | unknown).decode()
    return text.decode()


def _mail_text(mail: Mail, shelf: _Shelf) -> str:
    return _json(StoredMail(mail.key, mail.at, mail.execution, mail.generation, shelf.raw(mail.event))).decode()


def _values(held: Doc, name: str, values: Mapping[str, bytes], shelf: _Shelf) -> dict[str, str]:
    def text(key: str) -> str:
        return _json(StoredValue(key, shelf.raw(values[key]))).decode()

    return _numbered(held, name, lambda entry: _value_of(entry).name, values, text)


def _numbered(
    held: Doc, name: str, key_in: Callable[[str], str], keys: Iterable[str], text_of: Callable[[str], str]
) -> dict[str, str]:
    """Entries under numbers that keep their order: what was there before has the number that it had."""
    there = {key_in(text): _number(number) for number, text in held.get(name, {}).items()}
    last = max(there.values(), default=0)
    entries = {}
    for key in keys:
        if key not in there:
            last += 1
            there[key] = last
        entries[f"_{there[key]}"] = text_of(key)
    return entries


def _stream_text(document: Document, key: tuple[int, int], shelf: _Shelf) -> str:
    strand = document.instance.streams[key]
    track = track_of(*key)
    gone = _outgrown(document, track, len(strand.items))
    items = [replace(item, value=shelf.payload(item.value, track, item.offset)) for item in strand.items[gone:]]
    return _json(StoredStream(*key, strand.name, strand.before + gone, items)).decode()


def track_of(generation: int, number: int) -> str:
    """Under which name the items of a stream are in the log."""
    return f"{generation}_{number}"


def _log(document: Document, shelf: _Shelf) -> Iterator[Doc]:
    """What was newest and is no more: it goes from the document into the log, where its place is its key, so that
    whoever writes it writes the same."""
    for segment in document.instance.segments[:-1]:
        yield _row(document, SEGMENTS, segment.sequence, shelf.put(segment.events, SEGMENTS, segment.sequence))
    for (generation, number), strand in document.instance.streams.items():
        track = track_of(generation, number)
        for item in strand.items[: _outgrown(document, track, len(strand.items))]:
            value = shelf.payload(item.value, track, item.offset)
            yield _row(document, track, item.offset, _json(replace(item, value=value)).decode())


def _outgrown(document: Document, track: str, count: int) -> int:
    """How many of a stream's items go into the log: those that were the newest, if others came behind them."""
    if document.is_new:
        return max(0, count - 1)
    text = document.held["streams"].get(f"_{track}")
    was = 0 if text is None else len(_stream_of(text).items)
    return was if count > was else 0


def _row(document: Document, track: str, place: int, text: str) -> Doc:
    return {"_id": f"{document.life}|{track}|{place}", "l": document.life, "t": track, "n": place, "d": text}


def _sweeps(document: Document) -> Iterator[Doc]:
    """What of log and payloads nobody looks at any more."""
    held = document.held
    if not is_there(held):
        return
    if document.is_new:
        yield {"l": held["life"], "t": {"$ne": OUTBOX}}  # because what it had to send is still to be sent
        return
    if held["first"] < document.first:
        yield {"l": document.life, "t": SEGMENTS, "n": {"$lt": document.first}}
    for name in held["streams"]:
        if name not in {f"_{track_of(*key)}" for key in document.instance.streams}:
            yield {"l": document.life, "t": name[1:]}


def _size(doc: Doc) -> int:
    """About how many bytes the document takes."""
    texts = (entry for name in MAPS for entry in doc[name].values())
    return sum(map(len, texts)) + len(doc["head"]) + len(doc.get("tail", {}).get("e", ""))


def changes(held: Doc, doc: Doc) -> Doc:
    """The update that makes of what is there what is to be."""
    put: Doc = {"rev": doc["rev"]}
    gone: Doc = {}
    entries: Doc = {}
    for name, value in doc.items():
        if name in ASIDE or held.get(name) == value:
            continue
        if name in MAPS:
            was = held[name]
            entries |= {f"{name}.{entry}": text for entry, text in value.items() if was.get(entry) != text}
            gone |= {f"{name}.{entry}": "" for entry in was if entry not in value}
        else:
            put[name] = value
    if len(entries) + len(gone) > ENTRIES_MAX:
        put |= {name: doc[name] for name in MAPS if held[name] != doc[name]}
        gone = {}
    else:
        put |= entries
    gone |= {name: "" for name in OPTIONAL if name in held and name not in doc}
    return {"$set": put, "$unset": gone} if gone else {"$set": put}
