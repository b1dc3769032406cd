"""Runs scripts for shards: in one call on a single server, in one call for each shard on the nodes of a cluster."""

from __future__ import annotations

import asyncio
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
from redis.asyncio.connection import Connection, SSLConnection
from redis.exceptions import NoScriptError, RedisError

from perdure.errors import StoreError, StoreNotUsable, StoreUnavailable
from perdure.stores.redis.address import Address
from perdure.stores.redis.link import CONNECT_SECONDS, Command, Link
from perdure.stores.redis.records import kept
from perdure.stores.redis.refusals import refusal
from perdure.stores.redis.scripts import READING, Script, script
from perdure.stores.tls import Tls

SLOTS = 16_384
TRIES_MAX = 6
"""How often a call is sent that a cluster refuses because a slot is, or moves, elsewhere."""
TRY_SECONDS = 0.05
"""Pause before the second try; each later one is twice as long."""

Ask: TypeAlias = tuple[str, list[Any]]
"""The prefix of a shard's keys, and the arguments of the script for it."""

Node: TypeAlias = tuple[str, int]
"""Host and port."""

_encode = msgspec.msgpack.Encoder().encode


@dataclass(slots=True)
class _Sent:
    """An ask of a cluster that is under way."""

    place: int
    ask: Ask
    whole: bool = False


class Server:
    """A single server, or a cluster. Belongs to the event loop that first calls it."""

    def __init__(self, address: Address, read_only: bool = False) -> None:
        self.address = address
        self._read_only = read_only
        self._links: dict[Node, Link] = {}
        self._slots: list[Node] = []
        self.home: Node = (address.host, address.port)

    def __repr__(self) -> str:
        return str(self.address)

    def connection(self, host: str = "", port: int = 0) -> Connection:
        """A new connection, not yet connected."""
        address = self.address
        return _kind(address.tls)(
            host=host or address.host,
            port=port or address.port,
            db=address.db,
            username=address.username,
            password=address.password,
            socket_timeout=None,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_keepalive=True,
            protocol=2,
            client_name="perdure",
            **_encrypted(address.tls),
        )

    async def close(self) -> None:
        links, self._links, self._slots = list(self._links.values()), {}, []
        for link in links:
            await link.close()

    async def command(self, node: Node, *command: bytes | str | int) -> Any:
        """The reply of one server. Raises what refuses it as RedisError."""
        (reply,) = await self._link(node).call([command])
        if isinstance(reply, RedisError):
            raise reply
        return reply

    async def run(self, name: str, asks: Sequence[Ask]) -> list[Any]:
        """What the script answers for each of the asks, no two of one shard.

        Raises StoreUnavailable if the outcome is unknown, and what a refusal means.
        """
        if self._read_only and name not in READING:
            raise StoreNotUsable(f"{self.address} was opened to read; open it without read_only to write")
        if not asks:
            return []
        if self.address.is_cluster:
            return _done(await self._run_on_nodes(script(name), asks))
        link = self._link(self.home)
        (reply,) = await link.call([_evalsha(script(name), asks)])
        if isinstance(reply, NoScriptError):
            (reply,) = await link.call([_eval(script(name), asks)])
        if isinstance(reply, RedisError):
            raise refusal(reply, str(self.address)) from reply
        return _done(reply)

    async def one(self, name: str, prefix: str, *arguments: Any) -> Any:
        """What the script answers for one shard."""
        (answer,) = await self.run(name, [(prefix, list(arguments))])
        return answer

    def _link(self, node: Node) -> Link:
        link = self._links.get(node)
        if link is None:
            host, port = node
            place = f"{self.address}" if node == self.home else f"{self.address}, node {host}:{port},"
            link = self._links[node] = Link(place, lambda: self.connection(host, port))
        return link

    # -- clusters ---------------------------------------------------------------------------------------------------

    async def _run_on_nodes(self, code: Script, asks: Sequence[Ask]) -> list[Any]:
        answers: list[Any] = [None] * len(asks)
        left = [_Sent(place, ask) for place, ask in enumerate(asks)]
        pause = TRY_SECONDS
        error: RedisError | None = None
        for number in range(TRIES_MAX):
            if number > 1:
                await asyncio.sleep(pause)
                pause *= 2
            if number or not self._slots:
                await self.read_slots()
            left, error = await self._send(code, left, answers)
            if not left:
                return answers
        assert error is not None, "what is left was refused"
        raise refusal(error, str(self.address)) from error

    async def _send(
        self, code: Script, asked: list[_Sent], answers: list[Any]
    ) -> tuple[list[_Sent], RedisError | None]:
        """Those that have to be sent again, and why the last of them; all nodes are asked at once."""
        by_node: dict[Node, list[_Sent]] = {}
        for sent in asked:
            by_node.setdefault(self._slots[slot(sent.ask[0])], []).append(sent)
        calls = [
            self._link(node).call([(_eval if one.whole else _evalsha)(code, [one.ask]) for one in group])
            for node, group in by_node.items()
        ]
        replies = await asyncio.gather(*calls, return_exceptions=True)
        again: list[_Sent] = []
        why: RedisError | None = None
        for group, found in zip(by_node.values(), replies, strict=True):
            if isinstance(found, BaseException):
                self._slots = []  # because another node may have taken its place
                raise found
            for sent, reply in zip(group, found, strict=True):
                if isinstance(reply, NoScriptError):
                    sent.whole = True
                elif not isinstance(reply, RedisError):
                    answers[sent.place] = reply[0]
                    continue
                elif not isinstance(refusal(reply, ""), StoreUnavailable):
                    raise refusal(reply, str(self.address)) from reply
                again.append(sent)
                why = reply
        return again, why

    async def nodes(self) -> list[Node]:
        """Those of a cluster that have slots."""
        if not self._slots:
            await self.read_slots()
        return list(dict.fromkeys(self._slots))

    async def read_slots(self) -> None:
        """Learn which node has which slot, from any node that answers. Raises StoreUnavailable if none does."""
        known = dict.fromkeys([*self._links, self.home])
        failure: StoreError | None = None
        for node in known:
            try:
                (reply,) = await self._link(node).call([("CLUSTER", "SLOTS")])
            except StoreUnavailable as error:
                failure = error
                continue
            if isinstance(reply, RedisError):
                failure = refusal(reply, str(self.address))
                continue
            slots = [self.home] * SLOTS
            for first, last, (host, port, *_), *_replicas in reply:
                name = host.decode() if host else node[0]
                slots[first : last + 1] = [(name, port)] * (last - first + 1)
            self._slots = slots
            return
        assert failure is not None, "there is a node to ask"
        raise failure


def _kind(tls: Tls) -> type[Connection]:
    return Connection if tls.mode == "off" else SSLConnection


def _encrypted(tls: Tls) -> dict[str, Any]:
    """What the driver is told."""
    if tls.mode == "off":
        return {}
    files = {"ssl_ca_certs": tls.ca, "ssl_certfile": tls.cert, "ssl_keyfile": tls.key}
    known = {name: file for name, file in files.items() if file is not None}
    is_verified = tls.mode == "verify"
    return {**known, "ssl_cert_reqs": "required" if is_verified else "none", "ssl_check_hostname": is_verified}


def slot(prefix: str) -> int:
    """The slot of a cluster that keys with this prefix are in: CRC-16 of what stands in the braces."""
    tag = prefix[prefix.index("{") + 1 : prefix.index("}")]
    return binascii.crc_hqx(tag.encode(), 0) % SLOTS


def _done(answers: list[Any]) -> list[Any]:
    """Raises AppReserved if one of the shards is kept for a move."""
    for answer in answers:
        if isinstance(answer, list) and len(answer) == 2 and answer[0] == b"kept":
            raise kept(answer[1])
    return answers


def _evalsha(code: Script, asks: Sequence[Ask]) -> Command:
    return ("EVALSHA", code.digest, *_arguments(asks))


def _eval(code: Script, asks: Sequence[Ask]) -> Command:
    return ("EVAL", code.source, *_arguments(asks))


def _arguments(asks: Sequence[Ask]) -> Command:
    keys = [key for prefix, _ in asks for key in (prefix + "lease", prefix + "ghost")]
    return (len(keys), *keys, _encode([arguments for _, arguments in asks]))
