"""Carries what turns send, from the document of the sender to that of the receiver: in order, and at least once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

from msgspec.structs import replace

from perdure.errors import PerdureError
from perdure.stores.apps import Apps
from perdure.stores.carrier import Carrier
from perdure.stores.contract import NOBODY, Mail, Permit
from perdure.stores.mongo.database import Database, Doc
from perdure.stores.mongo.documents import Document, Letter, document_of, is_there, letter_of, letter_text
from perdure.stores.mongo.heads import HEADS, Decided, Heads
from perdure.stores.mongo.notices import NOTICES, doc_of
from perdure.stores.mongo.visits import Visits

PERMITS = "permits"
SENDERS = 200
"""Instances whose letters are carried at once, of one shard."""
RECEIVERS_MAX = 16
"""Bound of receivers to which letters are carried at once."""

Sent: TypeAlias = tuple[str, str, Letter]
"""The key of the sender, the name of the letter there, and the letter."""


class Outbox:
    """Delivers what this process committed, and what it finds in instances of shards that it took over.

    A letter is deleted when its delivery has returned, so a crash between the two delivers it again. `arrived` is told
    which shards have something new.
    """

    def __init__(
        self,
        database: Database,
        heads: Heads,
        visits: Visits,
        apps: Apps,
        arrived: Callable[[Iterable[int]], Awaitable[None]],
    ) -> None:
        self._database = database
        self._heads = heads
        self._visits = visits
        self._apps = apps
        self._arrived = arrived
        self._unread: set[int] = set()
        self._stuck: set[int] = set()
        self._carrier = Carrier(lambda: bool(self._unread), self._work)
        self._slots = asyncio.Semaphore(RECEIVERS_MAX)

    async def send(self, shard: int, letters: Sequence[Sent]) -> None:
        """Carry letters that instances of the shard have to send: to the shard itself now, to others soon."""
        here = [sent for sent in letters if self._receiver(shard, sent[2]) == shard]
        if here and shard not in self._stuck:
            try:
                await self._carry(shard, here)
            except PerdureError:
                self._stuck.add(shard)  # because later ones must not come before them
        if len(here) < len(letters) or shard in self._stuck:
            self._unread.add(shard)
            self._carrier.wake()

    def read(self, shards: Iterable[int]) -> None:
        """Look what instances of these shards have to send, and carry it."""
        added = set(shards)
        self._unread |= added
        self._stuck |= added
        self._carrier.wake()

    async def emptied(self) -> None:
        """Return when all that this process knows of has arrived."""
        await self._carrier.emptied()

    async def close(self) -> None:
        await self._carrier.close()
        self._unread.clear()
        self._stuck.clear()

    async def carry_from(self, condition: Doc) -> bool:
        """Carry all that some instances have to send; whether there was anything."""
        found = await self._database.find(HEADS, condition | {"flags": {"$all": ["sends"]}}, limit=SENDERS)
        docs = await self._heads.resolve([doc for doc in found if is_there(doc)])
        by_shard: dict[int, list[Sent]] = {}
        for document in map(document_of, docs):
            letters = [(document.key, name, letter_of(text)) for name, text in document.outbox.items()]
            by_shard.setdefault(document.shard, []).extend(letters)
        for shard, letters in by_shard.items():
            await self._carry(shard, sorted(letters, key=lambda sent: sent[1]))
        return bool(docs)

    async def _work(self) -> None:
        for shard in sorted(self._unread):
            self._unread.discard(shard)
            try:
                while await self.carry_from({"shard": shard}):
                    pass
            except PerdureError:
                self._unread.add(shard)
                raise
            self._stuck.discard(shard)

    async def _carry(self, shard: int, letters: Sequence[Sent]) -> None:
        """Raises what kept some of them from arriving, when the others have."""
        await self._apps.learn({letter.receiver[0] for _, _, letter in letters} | _refusal_apps(letters))
        groups: dict[int, list[Sent]] = {}
        for sent in letters:
            groups.setdefault(self._receiver(shard, sent[2]), []).append(sent)
        ends = await asyncio.gather(
            *(self._carry_to(shard, receiver, group) for receiver, group in groups.items()), return_exceptions=True
        )
        await self._arrived(groups)
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    def _receiver(self, shard: int, letter: Letter) -> int:
        return shard if letter.permits or letter.notice is not None else self._apps.home(*letter.receiver)

    async def _carry_to(self, sender: int, receiver: int, group: Sequence[Sent]) -> None:
        async with self._slots:
            for letters in _together(group):
                if letters[0][2].permits:
                    await self._count(sender, letters)
                elif letters[0][2].notice is not None:
                    found = [(one.number, one.notice) for _, _, one in letters if one.notice is not None]
                    docs = [doc_of(receiver, number, notice) for number, notice in found]
                    await self._database.insert_missing(NOTICES, docs)
                elif letters[0][2].mail is not None:
                    await self._visits.deliver(receiver, [one.mail for _, _, one in letters if one.mail is not None])
                else:
                    await self._create(sender, receiver, letters)
                await self._forget(sender, letters)

    async def _create(self, sender: int, receiver: int, letters: Sequence[Sent]) -> None:
        """A creation that was refused before has only its refusal to send."""
        left = [sent for sent in letters if not sent[2].refused]
        creations = [sent[2].creation for sent in left if sent[2].creation is not None]
        if creations and creations[0].joins:
            (delivery,) = await self._visits.deliver(receiver, [creations[0].mail])
            if delivery not in NOBODY:
                return
        made = await self._visits.create(receiver, creations)
        refused = [sent for sent in letters if sent[2].refused]
        refused += [
            sent
            for sent, is_made in zip(left, made, strict=True)
            # because who cannot note it has come too late: another has carried it, and may have found the id free
            if not is_made and _refusal(sent[2]) is not None and await self._refuse(sender, *sent)
        ]
        for _, _, letter in sorted(refused, key=lambda sent: sent[1]):
            refusal = _refusal(letter)
            if refusal is not None:
                await self._visits.deliver(self._apps.home(refusal.app or letter.app, refusal.instance), [refusal])

    async def _refuse(self, shard: int, key: str, name: str, letter: Letter) -> bool:
        """Note that the creation was refused, before anybody is told: it is not tried again."""

        def decide(_: str, document: Document | None, __: Doc | None) -> Decided[bool]:
            if document is None or name not in document.outbox:
                return Decided(False)
            document.outbox[name] = letter_text(replace(letter, refused=True))
            return Decided(True, document)

        id = key.partition("|")[2]
        return (await self._heads.change(shard, [id], decide))[id]

    async def _forget(self, shard: int, letters: Sequence[Sent]) -> None:
        by_id: dict[str, list[str]] = {}
        for key, name, _ in letters:
            by_id.setdefault(key.partition("|")[2], []).append(name)
        await self._heads.change(shard, by_id, partial(_decide_forgetting, by_id))

    async def _count(self, shard: int, letters: Sequence[Sent]) -> None:
        """Starts that count for a rate; others of the same queues go whose time is over."""
        for _, name, letter in letters:
            over = {"shard": shard, "queue": {"$in": sorted({permit.queue for permit in letter.permits})}}
            await self._database.delete(PERMITS, over | {"until": {"$lte": letter.at}})
            await self._database.insert_missing(PERMITS, permit_docs(shard, name, letter.permits))


def permit_docs(shard: int, name: str, permits: Sequence[Permit]) -> list[Doc]:
    return [
        {"_id": f"{shard}|{name}|{place}", "shard": shard, "queue": one.queue, "at": one.at, "until": one.until}
        for place, one in enumerate(permits)
    ]


def _together(group: Sequence[Sent]) -> Iterator[list[Sent]]:
    """Letters that may be carried at once: of one sort, and no creation of an id on which one before it bears."""
    some: list[Sent] = []
    touched: set[str] = set()
    for sent in group:
        letter, creation = sent[2], sent[2].creation
        is_apart = bool(some) and (_sort(letter) != _sort(some[0][2]) or (creation and creation.joins))
        if is_apart or (creation is not None and (creation.head.id in touched or _joins(some))):
            yield some
            some, touched = [], set()
        some.append(sent)
        if creation is not None:
            touched |= {creation.head.id, *([creation.refusal.instance] if creation.refusal is not None else [])}
    if some:
        yield some


def _sort(letter: Letter) -> tuple[bool, bool, bool]:
    return letter.mail is not None, bool(letter.permits), letter.notice is not None


def _joins(some: Sequence[Sent]) -> bool:
    creation = some[0][2].creation if some else None
    return creation is not None and creation.joins


def _refusal(letter: Letter) -> Mail | None:
    return None if letter.creation is None else letter.creation.refusal


def _refusal_apps(letters: Sequence[Sent]) -> set[str]:
    creations = [letter.creation for _, _, letter in letters if letter.creation is not None]
    return {one.refusal.app for one in creations if one.refusal is not None and one.refusal.app is not None}


def _decide_forgetting(names: dict[str, list[str]], id: str, document: Document | None, _: Doc | None) -> Decided[None]:
    if document is None or not any(name in document.outbox for name in names[id]):
        return Decided(None)
    for name in names[id]:
        document.outbox.pop(name, None)
    return Decided(None, document)
