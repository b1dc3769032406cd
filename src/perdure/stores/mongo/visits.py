"""What anybody may do to an instance without a lease: create it, send to it, answer and claim its calls, purge it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from perdure.clock import SECOND
from perdure.stores.contract import (
    Creation,
    Delivery,
    Holder,
    Mail,
    OpenCall,
    Outcome,
    Report,
    Touch,
    Wait,
    WaitKind,
)
from perdure.stores.instance import Instance, is_claimable
from perdure.stores.mongo.database import Database
from perdure.stores.mongo.documents import Doc, Document, new
from perdure.stores.mongo.heads import Check, Decided, Heads
from perdure.stores.mongo.ownership import check_free
from perdure.stores.rules import holds

OFFERS_MAX = 500
"""Instances with calls for any node that one claim looks at, the longest unchanged first."""
CLAIM_TRIES_MAX = 20
"""How often a creation is tried whose claim changes hands meanwhile."""


class Visits:
    """None of them writes while the shard is kept for a move."""

    def __init__(self, database: Database, heads: Heads) -> None:
        self._database = database
        self._heads = heads

    # -- creations

    async def create(self, shard: int, creations: Sequence[Creation]) -> list[bool]:
        """Whether each is there now; those that claim a name come through `claim_and_create`."""
        made: list[bool] = []
        for group in _without_repeats(creations):
            by_id = {creation.head.id: creation for creation in group}
            found = await self._heads.change(shard, by_id, partial(_decide_creation, shard, by_id), self._check(shard))
            await self._stay(shard, [creation for creation in group if found[creation.head.id]])
            made += [found[creation.head.id] for creation in group]
        return made

    async def claim_and_create(self, shard: int, creation: Creation) -> Holder | bool:
        """Likewise; or who holds the claim."""
        claim = creation.claim
        assert claim is not None, "it claims a name"
        by_id = {creation.head.id: creation}
        for _ in range(CLAIM_TRIES_MAX):
            await check_free(self._database, [shard])
            there = await self._heads.documents({"claim": f"{shard}|{claim.name}"}, limit=1)
            if there and there[0].instance.head.id != creation.head.id:
                head, until = there[0].instance.head, there[0].claim.until if there[0].claim is not None else 0
                if holds(claim, head.execution, head.status, until, creation):
                    return Holder(head.id, head.execution, head.sequence, head.created)
                await self._heads.change(shard, [head.id], partial(_decide_yield, creation))
            elif there:
                head, until = there[0].instance.head, there[0].claim.until if there[0].claim is not None else 0
                if holds(claim, head.execution, head.status, until, creation):
                    return Holder(head.id, head.execution, head.sequence, head.created)
            made = await self._heads.change(
                shard, by_id, partial(_decide_creation, shard, by_id), self._check(shard), once=True
            )
            if made:
                await self._stay(shard, [creation] if made[creation.head.id] else [])
                return made[creation.head.id]
        return False

    async def _stay(self, shard: int, made: Sequence[Creation]) -> None:
        """Take back what was created while the shard was being kept for a move, unless it moves with the rest."""
        if not made:
            return
        kept = await self._database.find("shards", {"_id": shard, "reservation": {"$exists": True}})
        if not kept:
            return
        await self._heads.change(shard, [one.head.id for one in made], _decide_undo)
        there = await self._heads.some(shard, [one.head.id for one in made])
        if any(one.head.id not in there for one in made):
            await check_free(self._database, [shard])

    # -- mail

    async def deliver(self, shard: int, mail: Sequence[Mail]) -> list[Delivery]:
        by_id: dict[str, list[Mail]] = {}
        for message in mail:
            by_id.setdefault(message.instance, []).append(message)
        found = await self._heads.change(shard, by_id, partial(_decide_mail, by_id), self._check(shard))
        told = {id: iter(deliveries) for id, deliveries in found.items()}
        return [next(told[message.instance]) for message in mail]

    async def renew(self, shard: int, holder: Holder, mail: Mail, wait: Wait, at: int) -> bool:
        def decide(_: str, document: Document | None, __: Doc | None) -> Decided[bool]:
            if document is None or not document.instance.renew(holder, mail, wait, at):
                return Decided(False)
            return Decided(True, document)

        return (await self._heads.change(shard, [holder.id], decide, self._check(shard)))[holder.id]

    async def report(self, shard: int, reports: Sequence[Report]) -> list[Outcome]:
        by_id: dict[str, list[Report]] = {}
        for told in reports:
            by_id.setdefault(told.mail.instance, []).append(told)
        found = await self._heads.change(shard, by_id, partial(_decide_reports, by_id), self._check(shard))
        said = {id: iter(outcomes) for id, outcomes in found.items()}
        return [next(said[told.mail.instance]) for told in reports]

    # -- calls that any node may run

    async def claim(
        self, shards: Sequence[int], owner: str, token: str, names: Sequence[str], limit: int, seconds: float
    ) -> list[OpenCall]:
        now = await self._now(shards)
        if not names or limit <= 0:
            return []
        condition = {"shard": {"$in": list(shards)}, "open": True, "suspended": False, "flags": {"$all": ["offers"]}}
        offered = [
            (wait.since, document.shard, document.instance.head.id, wait.number)
            for document in await self._heads.documents(condition, limit=OFFERS_MAX)
            for wait in document.instance.waits.values()
            if wait.kind == WaitKind.ACTIVITY and wait.name in names and is_claimable(wait, now)
        ]
        wanted: dict[int, dict[str, list[int]]] = {}
        for _, shard, id, number in sorted(offered)[:limit]:
            wanted.setdefault(shard, {}).setdefault(id, []).append(number)
        until = now + round(seconds * SECOND)

        def decide(
            numbers: dict[str, list[int]], id: str, document: Document | None, _: Doc | None
        ) -> Decided[list[int]]:
            if document is None or document.instance.finished or document.instance.head.suspended is not None:
                return Decided([])
            waits = document.instance.waits
            mine = [number for number in numbers[id] if number in waits and is_claimable(waits[number], now)]
            for number in mine:
                document.instance.claim(number, owner, token, until)
            return Decided(mine, document if mine else None)

        claimed: list[OpenCall] = []
        for shard, numbers in wanted.items():
            found = await self._heads.change(shard, numbers, partial(decide, numbers), self._check(shard))
            there = await self._heads.some(shard, [id for id, mine in found.items() if mine])
            claimed += [
                OpenCall(shard, id, document.instance.head.execution, document.instance.head.generation, wait)
                for id, document in there.items()
                for number in found[id]
                if (wait := document.instance.waits.get(number)) is not None and wait.token == token
            ]
        return sorted(claimed, key=lambda call: (call.wait.since, call.shard, call.instance, call.wait.number))

    async def _now(self, shards: Sequence[int]) -> int:
        await check_free(self._database, shards)
        return await self._database.now()

    async def touch(self, touches: Sequence[Touch], seconds: float) -> list[bool]:
        if not touches:
            return []
        until = await self._database.now() + round(seconds * SECOND)
        alive = [False] * len(touches)
        by_shard: dict[int, dict[str, list[int]]] = {}
        for place, touch in enumerate(touches):
            by_shard.setdefault(touch.shard, {}).setdefault(touch.instance, []).append(place)

        def decide(
            places: dict[str, list[int]], id: str, document: Document | None, _: Doc | None
        ) -> Decided[list[bool]]:
            if document is None:
                return Decided([False] * len(places[id]))
            said = [document.instance.touch(touches[place], until, is_let_go=not seconds) for place in places[id]]
            return Decided(said, document if any(said) else None)

        for shard, places in by_shard.items():
            found = await self._heads.change(shard, places, partial(decide, places))
            for id, said in found.items():
                for place, is_alive in zip(places[id], said, strict=True):
                    alive[place] = is_alive
        return alive

    # -- the end

    async def purge(self, shard: int, ids: Sequence[str]) -> list[str]:
        """What they have still to send must have left before."""

        def decide(_: str, document: Document | None, __: Doc | None) -> Decided[bool]:
            if document is None or document.outbox:
                return Decided(False)
            goes = document.instance.finished or document.instance.is_unused
            return Decided(goes, document if goes else None, deletes=True)

        asked = list(dict.fromkeys(ids))
        found = await self._heads.change(shard, asked, decide, self._check(shard))
        return [id for id in asked if found[id]]

    def _check(self, shard: int) -> Check:
        return partial(check_free, self._database, [shard])


def _without_repeats(creations: Sequence[Creation]) -> list[list[Creation]]:
    """In groups in which each id is once, so that later ones see what the earlier ones did."""
    groups: list[list[Creation]] = []
    for creation in creations:
        for group in groups:
            if creation.head.id not in {one.head.id for one in group}:
                group.append(creation)
                break
        else:
            groups.append([creation])
    return groups


def _decide_creation(
    shard: int, by_id: dict[str, Creation], id: str, document: Document | None, held: Doc | None
) -> Decided[bool]:
    creation = by_id[id]
    if document is not None:
        if document.instance.repeats(creation):
            return Decided(True)
        if not document.instance.admits(creation):
            return Decided(False)
    return Decided(True, new(shard, Instance.created(creation), document, held, creation.claim))


def _decide_yield(creation: Creation, _: str, document: Document | None, __: Doc | None) -> Decided[None]:
    """Let go of a claim that does not hold any more."""
    claim = creation.claim
    if document is None or claim is None or document.claim is None or document.claim.name != claim.name:
        return Decided(None)
    head = document.instance.head
    if holds(claim, head.execution, head.status, document.claim.until, creation):
        return Decided(None)
    document.claim = None
    return Decided(None, document)


def _decide_undo(_: str, document: Document | None, held: Doc | None) -> Decided[None]:
    """Delete what nobody has touched since it was created."""
    if document is None or held is None or "kept" in held or document.instance.head.sequence:
        return Decided(None)
    return Decided(None, document, deletes=True)


def _decide_mail(
    by_id: dict[str, list[Mail]], id: str, document: Document | None, _: Doc | None
) -> Decided[list[Delivery]]:
    if document is None:
        return Decided([Delivery.NO_INSTANCE] * len(by_id[id]))
    said = [document.instance.deliver(mail) for mail in by_id[id]]
    full: list[Delivery] = [Delivery.FULL if one is Delivery.DELIVERED else one for one in said]
    return Decided(said, document if Delivery.DELIVERED in said else None, too_large=full)


def _decide_reports(
    by_id: dict[str, list[Report]], id: str, document: Document | None, _: Doc | None
) -> Decided[list[Outcome]]:
    if document is None:
        return Decided([Outcome.CONFLICT] * len(by_id[id]))
    said = [document.instance.report(told) for told in by_id[id]]
    return Decided(said, document if Outcome.COMMITTED in said else None)
