"""What clients ask of topics: publish, subscribe a group, look, forget a group."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from perdure.actors.message import Message
from perdure.engine.node import Node
from perdure.engine.post import Post
from perdure.errors import InstanceExists, InstanceNotFound, MailboxFull, StoreUnavailable
from perdure.history.events import GroupJoined, GroupLeft, MessagePublished
from perdure.history.subscribing import SubscribeOptions
from perdure.history.topic_log import EMPTY, Log, decode_log, decode_page, name_of, page_of, placed, position_of
from perdure.history.topic_state import NOBODY_YET, Partition, TopicState, topic_states
from perdure.history.topics import NAME, creation_of, mail_of, message_key, partition_ids, partition_of
from perdure.paging import each_found
from perdure.stores.contract import ENTITY, MAILBOX_MESSAGES_MAX, NOBODY, Delivery, Head, Mail, Query

SEND_TRIES_MAX = 20
"""How often a message is sent to a partition that others bring about at the same moment."""
FULL_TRIES_MAX = 50
FULL_PAUSE_SECONDS = 0.1
"""How often, and after which pause, a message is sent again to a partition whose mailbox is full."""
STATES_PAGE = 200
"""Partitions that one read of what stands in topics looks at."""
Event = MessagePublished | GroupJoined | GroupLeft


async def partitions(node: Node) -> list[Partition]:
    """All partitions of the topics of an app, as the store has them."""
    heads = each_found(partial(node.store.find, Query(app=node.app, kind=ENTITY, name=NAME)), STATES_PAGE)
    return [await _partition(node, head) async for head in heads]


async def _partition(node: Node, head: Head) -> Partition:
    """A partition, with the age of the first message that each group has left."""
    log = decode_log(head.custom_status)
    lowest = {name: group.lowest for name, group in log.groups.items() if group.left}
    if not log.groups and log.first < log.next:
        lowest[NOBODY_YET] = position_of(log.first)
    messages = await messages_at(node, head.id, log, sorted(set(lowest.values())))
    return Partition(head.id, log, {name: messages[at].at for name, at in lowest.items() if at in messages})


async def messages_at(node: Node, id: str, log: Log, positions: Sequence[int]) -> dict[int, MessagePublished]:
    """The messages at these positions of a partition, without those whose page is gone meanwhile."""
    numbers = {name_of(log, number): number for number in sorted({page_of(position) for position in positions})}
    rows = await node.store.published(node.shard_of(id), id, list(numbers)) if numbers else {}
    found: dict[int, MessagePublished] = {}
    for name, number in numbers.items():
        page = decode_page(rows.get(name, EMPTY))
        found.update(placed(number, page) if page is not None else ())
    return {position: found[position] for position in positions if position in found}


class Topics:
    """Topics of one engine's app. Any node may ask; who owns a partition hears directly or by mail."""

    def __init__(self, node: Node, post: Post) -> None:
        self._node = node
        self._post = post

    async def publish(self, messages: Sequence[MessagePublished]) -> None:
        """Messages, in their order; durable when this returns.

        The same event again, by source and id, changes nothing. Raises MailboxFull, StoreError.
        """
        sent = [self._send(partition_of(message), message, message_key(message)) for message in messages]
        if len(sent) == 1:
            await sent[0]  # because most come alone, and a gathering costs as much again
        else:
            await asyncio.gather(*sent)

    async def join(self, topic: str, group: str, options: SubscribeOptions) -> None:
        """Have a group subscribe, or change its options; durable when this returns. Raises InvalidArgument for one
        group too many, StoreError."""
        event = GroupJoined(at=self._node.clock.now(), topic=topic, group=group, options=options)
        await self._tell_all(topic, event)

    async def leave(self, topic: str, group: str) -> None:
        """Forget a group and its place; durable when this returns."""
        await self._tell_all(topic, GroupLeft(at=self._node.clock.now(), topic=topic, group=group))

    async def states(self) -> list[TopicState]:
        """The topics that there are, by name."""
        return topic_states(await partitions(self._node))

    async def _tell_all(self, topic: str, event: Event) -> None:
        key = self._node.clock.token()
        await asyncio.gather(*(self._send(id, event, key) for id in partition_ids(topic)))

    async def _send(self, id: str, event: Event, key: str) -> None:
        """Directly to the owner if that is here, else through the store. The key makes a repetition harmless."""
        shard = self._node.owner_of(id)
        if shard is not None and not shard.commands_only:
            done = shard.host.promise()
            shard.tell(id, Message(event, key, answer=done))
            try:
                await done
                return
            except InstanceNotFound:
                pass  # because its first message makes it
            except StoreUnavailable:
                pass  # because the shard may have moved; if not, the store says so
        await self._mail(mail_of(event, id, key, self._node.clock.now()))

    async def _mail(self, mail: Mail) -> None:
        fulls = 0
        for _ in range(SEND_TRIES_MAX + FULL_TRIES_MAX):
            delivery = await self._post.deliver(mail)
            if delivery == Delivery.FULL:
                fulls += 1
                if fulls == FULL_TRIES_MAX:
                    text = f"{MAILBOX_MESSAGES_MAX:,} messages wait for {mail.instance!r}; see that a node owns it"
                    raise MailboxFull(text, mail.instance)
                await asyncio.sleep(FULL_PAUSE_SECONDS)
            elif delivery not in NOBODY or await self._create(mail):
                return
        raise StoreUnavailable(f"the topic {mail.instance!r} comes and goes all the time; publish again")

    async def _create(self, mail: Mail) -> bool:
        """Whether the mail has made the partition; else somebody else has."""
        node, id = self._node, mail.instance
        try:
            await node.store.create(node.shard_of(id), creation_of(node.app, mail))
        except InstanceExists:
            return False
        owner = node.owner_of(id)
        if owner is not None:
            owner.host.receive(mail)
        return True

    def __repr__(self) -> str:
        return f"<Topics of {self._node!r}>"
