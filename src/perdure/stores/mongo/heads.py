"""Reads and changes instances: each change is one write on the condition that nobody has changed the document since."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from perdure.errors import StoreCorrupt, StoreUnavailable
from perdure.stores.mongo.database import Database
from perdure.stores.mongo.documents import (
    ROW_BYTES_MAX,
    SEGMENTS,
    Doc,
    Document,
    TooLarge,
    Writing,
    changes,
    document_of,
    is_there,
    key_of,
    references,
    resolved,
    writing,
)

HEADS = "heads"
LOG = "log"
PAYLOADS = "payloads"
TRIES_MAX = 60
"""How often a change is tried that others come before; then the store is busy."""
TRY_SECONDS = 0.002
"""Pause before the second try; it grows up to fifty times as long."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Decided(Generic[T]):
    """What is to become of an instance: `result` is told once it is written; without `document` nothing is written.

    `too_large` is told instead, and nothing written, if the document cannot hold it.
    """

    result: T
    document: Document | None = None
    deletes: bool = False
    too_large: T | None = None


Decide = Callable[[str, Document | None, Doc | None], Decided[T]]
"""Decides about the instance of an id from its document, and from what is at its place if that is none."""
Check = Callable[[], Awaitable[None]]
"""Raises AppReserved while the shard is kept for a move."""


class Heads:
    """The documents of instances, with the log and the payloads that belong to them."""

    def __init__(self, database: Database, row_bytes_max: int = ROW_BYTES_MAX) -> None:
        self._database = database
        self.row_bytes_max = row_bytes_max

    # -- reading

    async def documents(self, condition: Doc, order: Sequence[tuple[str, int]] = (), limit: int = 0) -> list[Document]:
        """Those that fit the condition, with references where payloads are kept apart."""
        found = await self._database.find(HEADS, condition, order=order, limit=limit)
        return [document_of(doc) for doc in found if is_there(doc)]

    async def one(self, shard: int, id: str) -> Document | None:
        return (await self.some(shard, [id])).get(id)

    async def some(self, shard: int, ids: Iterable[str]) -> dict[str, Document]:
        """Those that exist, by id, whole but for the log."""
        found = await self._database.of_keys(HEADS, [key_of(shard, id) for id in ids])
        docs = await self.resolve([doc for doc in found.values() if is_there(doc)])
        return {doc["id"]: document_of(doc) for doc in docs}

    async def whole(self, documents: Sequence[Document]) -> list[Document]:
        """The same with their payloads; those that have changed since, as they are now."""
        return [document_of(doc) for doc in await self.resolve([document.held for document in documents])]

    async def resolve(self, docs: Sequence[Doc]) -> list[Doc]:
        """The same with their payloads; one that has changed since is read again, and left out if it is gone."""
        wanted = list(docs)
        done: dict[str, Doc] = {}
        for _ in range(TRIES_MAX):
            payloads = await self.payloads(wanted)
            again = []
            for doc in wanted:
                try:
                    done[doc["_id"]] = resolved(doc, payloads)
                except KeyError:
                    again.append(doc["_id"])
            if not again:
                break
            wanted = [doc for doc in (await self._database.of_keys(HEADS, again)).values() if is_there(doc)]
        else:
            raise StoreCorrupt(f"{self._database}: payloads of {wanted[0]['_id']!r} are gone")
        return [done[doc["_id"]] for doc in docs if doc["_id"] in done]

    async def payloads(self, value: Any) -> dict[str, str]:
        """What is referred to anywhere in the value, by id."""
        ids = set(references(value))
        return {id: doc["d"] for id, doc in (await self._database.of_keys(PAYLOADS, ids)).items()} if ids else {}

    async def log(self, document: Document, track: str, after: int, limit: int = 0) -> list[Doc]:
        """Rows of the log in order, whole."""
        return await self.rows(document.life, track, after, limit)

    async def rows(self, life: str, track: str, after: int, limit: int = 0) -> list[Doc]:
        condition = {"l": life, "t": track, "n": {"$gt": after}}
        rows = await self._database.find(LOG, condition, order=[("n", 1)], limit=limit)
        payloads = await self.payloads(rows)
        try:
            return [resolved(row, payloads) for row in rows]
        except KeyError:
            return []  # because the run was erased meanwhile

    async def segments(self, document: Document, after: int = 0, limit: int = 0) -> list[Doc]:
        rows = await self.log(document, SEGMENTS, max(after, document.first - 1), limit)
        newest = document.instance.segments[-1].sequence if document.instance.segments else 0
        return [row for row in rows if row["n"] < newest]

    # -- changing

    async def change(
        self, shard: int, ids: Iterable[str], decide: Decide[T], check: Check | None = None, *, once: bool = False
    ) -> dict[str, T]:
        """What was decided about each instance, once it is written; who comes too late decides anew, or with `once` is
        left out."""
        left = list(dict.fromkeys(ids))
        results: dict[str, T] = {}
        for number in range(TRIES_MAX):
            reading = self._database.of_keys(HEADS, [key_of(shard, id) for id in left])
            if check is None:
                found = await reading
            else:
                found, _ = await asyncio.gather(reading, check())
                if any("kept" in doc for doc in found.values()):
                    await check()  # because it may have been kept between the two
            tried = await self._database.all(self._change(id, found.get(key_of(shard, id)), decide) for id in left)
            results |= {id: decided.result for id, decided in zip(left, tried, strict=True) if decided is not None}
            left = [id for id, decided in zip(left, tried, strict=True) if decided is None]
            if not left or once:
                return results
            await asyncio.sleep(TRY_SECONDS * min(number, 50))
        raise StoreUnavailable(f"{self._database}: others write to {left[0]!r} all the time; it will be tried again")

    async def _change(self, id: str, held: Doc | None, decide: Decide[T]) -> Decided[T] | None:
        """None if somebody came before."""
        document = document_of(held) if held is not None and is_there(held) else None
        decided = decide(id, document, held)
        if decided.document is None:
            return decided
        if decided.deletes:
            return decided if await self._delete(decided.document) else None
        try:
            return decided if await self.write(decided.document, held) else None
        except TooLarge:
            if decided.too_large is None:
                raise OverflowError(f"instance {id!r} has become too large for a document of MongoDB") from None
            return Decided(decided.too_large)

    async def write(self, document: Document, held: Doc | None) -> bool:
        """Whether the document is written; False if what is there is not what was held, or its claim is taken.

        Raises TooLarge."""
        how = writing(document, self.row_bytes_max)
        await self._before(how)
        if held is None:
            is_written = await self._database.insert(HEADS, how.doc)
        elif document.is_new:
            kept = {name: held[name] for name in ("kept",) if name in held}
            there = {"_id": held["_id"], "rev": held["rev"]}
            is_written = await self._database.replace(HEADS, there, how.doc | kept | {"rev": held["rev"] + 1})
        else:
            there = {"_id": held["_id"], "rev": held["rev"]}
            is_written = await self._database.update(HEADS, there, changes(held, how.doc))
        await self._after(how, is_written=is_written)
        if how.log and document.is_new and not is_written:
            await self._sweep({"l": document.life})
        return is_written

    async def _before(self, how: Writing) -> None:
        if how.log:
            await self._database.insert_missing(LOG, how.log)
        if how.payloads:
            await self._database.insert_missing(PAYLOADS, how.payloads)

    async def _after(self, how: Writing, *, is_written: bool) -> None:
        """Delete what is of no use; what is left by a crash goes with the instance."""
        unused = how.unused if is_written else [doc["_id"] for doc in how.payloads]
        if unused:
            await self._database.delete(PAYLOADS, {"_id": {"$in": unused}})
        if is_written:
            for sweep in how.sweeps:
                await self._sweep(sweep)

    async def _delete(self, document: Document) -> bool:
        held = document.held
        if not await self._database.delete(HEADS, {"_id": held["_id"], "rev": held["rev"]}):
            return False
        await self._sweep({"l": held["life"]})
        return True

    async def _sweep(self, condition: Doc) -> None:
        await self._database.delete(LOG, condition)
        await self._database.delete(PAYLOADS, condition)

    # -- keeping others out

    async def bar(self, shard: int, keys: Sequence[str]) -> None:
        """Whatever was on its way to these places is refused from now on, though its sender is not heard any more."""
        if not keys:
            return
        await self._database.update_all(HEADS, {"_id": {"$in": list(keys)}}, {"$inc": {"rev": 1}})
        there = await self._database.of_keys(HEADS, keys, ["rev"])
        missing = [{"_id": key, "shard": shard, "rev": 0} for key in keys if key not in there]
        if missing:
            await self._database.insert_missing(HEADS, missing)
