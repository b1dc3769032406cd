"""Mail from outside the shard's owner: gathered while the store is busy, written in one transaction, handed over."""

from __future__ import annotations

from perdure.engine.node import Node
from perdure.gathering import Gathering
from perdure.stores.contract import Delivery, Mail, Outcome, Report


class Post:
    """Writes mail to instances, and reports of attempts, for one node's callers. An owner hears of them at once."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._mail: dict[int, Gathering[Mail, Delivery]] = {}
        self._reports: dict[int, Gathering[Report, Outcome]] = {}

    async def deliver(self, mail: Mail) -> Delivery:
        """What became of the mail, once that is durable. Raises StoreError."""
        shard = self._node.shard_of(mail.instance)
        gathering = self._mail.get(shard)
        if gathering is None:
            gathering = self._mail[shard] = Gathering(lambda letters: self._node.store.deliver(shard, letters))
        delivery = await gathering.add(mail)
        if delivery == Delivery.DELIVERED:
            self._hand_over(mail)
        return delivery

    async def report(self, report: Report) -> Outcome:
        """What became of the report, once that is durable. Raises StoreError."""
        shard = self._node.shard_of(report.mail.instance)
        gathering = self._reports.get(shard)
        if gathering is None:
            gathering = self._reports[shard] = Gathering(lambda letters: self._node.store.report(shard, letters))
        outcome = await gathering.add(report)
        if outcome == Outcome.COMMITTED:
            self._call_off(report)
            self._hand_over(report.mail)
        return outcome

    def _call_off(self, report: Report) -> None:
        """Nobody needs the call's attempts any more, whoever may be about to make another."""
        mail = report.mail
        owner = self._node.owner_of(mail.instance)
        if owner is not None and mail.execution is not None and mail.generation is not None:
            address = (mail.instance, mail.execution, mail.generation, report.number)
            owner.attempts.call_off(address, report.attempt)

    def _hand_over(self, mail: Mail) -> None:
        owner = self._node.owner_of(mail.instance)
        if owner is not None:
            owner.host.receive(mail)

    def __repr__(self) -> str:
        return f"<Post of {self._node!r}>"
