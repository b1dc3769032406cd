"""Work on its way between two servers of an app: what one lends to the other, whose workers have the code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence

import msgspec
from msgspec import Raw

from perdure.codec import JSON, Payload
from perdure.history.lending import ANYTHING, call_of, take_of, ways_of
from perdure.history.work import Attempt, Outcome, Outlet, Stall
from perdure.remote.dispatch.attempt import AttemptWork
from perdure.remote.dispatch.dispatcher import Dispatcher
from perdure.remote.dispatch.stream import WorkerStream
from perdure.remote.dispatch.turn import is_whole
from perdure.remote.dispatch.work import Kind, Need, Peer, Work
from perdure.remote.requests import Flavour, TurnResult

GIVEN_BACK = "given-back"
YIELDS = "it yields, and what an activity yields is written by the server that owns its run"
"""Why a loan comes back that is not to be lent again."""


class Content(msgspec.Struct, frozen=True, array_like=True):
    """What is lent: an item as it would be sent to a worker of a `flavour`, what such a worker must have, and which
    turn or call it is of. `key` is the idempotency key that the SDK gave with a call."""

    token: str
    item: bytes
    flavour: Flavour
    kind: Kind
    app: str
    name: str
    version: str
    workflow: str
    instance: str
    number: int
    key: str | None = None

    @property
    def need(self) -> Need:
        return Need(self.app, self.kind, self.name, self.version, workflow=self.workflow, flavour=self.flavour)


_contents = msgspec.json.Decoder(Content)


def content_of(work: Work, item: bytes, flavour: Flavour) -> Content:
    """What is lent of a piece of work that goes out under its token."""
    need = work.need
    return Content(
        token=work.token,
        item=item,
        flavour=flavour,
        kind=need.kind,
        app=need.app,
        name=need.name,
        version=need.version,
        workflow=need.workflow,
        instance=work.instance,
        number=work.number,
        key=work.told_key if isinstance(work, AttemptWork) else None,
    )


def written(content: Content) -> Payload:
    return Payload(JSON, None, Raw(msgspec.json.encode(content)))


def read(input: Payload | None) -> Content:
    """Raises ValueError for what is none."""
    return _contents.decode(input.data if input is not None else b"")


# -- which work a server takes, as it tells others ------------------------------------------------------------------


def ways_to_take(need: Need, flavour: Flavour) -> Sequence[str]:
    """How a server may tell that workers of a flavour take such work."""
    if need.workflow:
        return [_spoken(take_of(Kind.TURN, need.workflow), flavour)] if flavour is Flavour.PERDURE else []
    return [_spoken(way, flavour) for way in ways_of(need.kind, need.name, need.version)]


def takes_of(streams: Sequence[WorkerStream]) -> Iterator[str]:
    """What the workers of a server take: turns before operations of entities, and these before attempts."""
    for kind in (Kind.TURN, Kind.ENTITY, Kind.ACTIVITY):
        for stream in streams:
            yield from (_spoken(take, stream.codec.flavour) for take in _takes(stream, kind))


def _takes(stream: WorkerStream, kind: Kind) -> Iterator[str]:
    named = stream.named(kind)
    if kind is Kind.ENTITY and stream.codec.flavour is Flavour.DAPR:
        return  # because its protocol has none
    if named is None:
        yield take_of(kind, ANYTHING)
        return
    for name, versions in named.items():
        if not versions:
            yield take_of(kind, name)
        yield from (take_of(kind, name, version) for version in versions)


def _spoken(take: str, flavour: Flavour) -> str:
    """With what the workers speak, because an item is written for that."""
    return take + flavour[0]


# -- with the one that borrows ----------------------------------------------------------------------------------------


class Lent(Work):
    """A piece of work that another server has lent, for a worker here. It is handed out once, under the token that it
    came with; if that is in vain it goes back, because its owner then makes a new token. `ended` tells what became of
    it: a stall if it goes back."""

    __slots__ = ("_beat", "_chunks", "_is_spent", "content", "ended")

    def __init__(self, content: Content, beat: Callable[[Payload | None], None]) -> None:
        super().__init__(content.need, content.instance, content.number)
        self.content = content
        self.ended: asyncio.Future[Outcome | Stall] = asyncio.get_running_loop().create_future()
        self._beat = beat
        self._chunks: list[TurnResult] = []
        self._is_spent = False

    def new_token(self, token: Callable[[], str]) -> str:
        return self.content.token

    def item(self, peer: Peer) -> bytes | None:
        item = self.content.item
        if self._is_spent:
            self.give_back("the worker that had it is gone")
            return None
        if len(item) > peer.item_bytes_max:
            self.give_back(f"it takes {len(item):,} bytes, and its worker is sent {peer.item_bytes_max:,} at most")
            return None
        self._is_spent = True
        self.beat(None)
        return item

    def beat(self, details: Payload | None) -> None:
        """A sign of life of its worker."""
        self._beat(details)

    def told(self, result: TurnResult) -> None:
        """A worker's answer to a turn, or a part of it, is durable on its way to the owner."""
        self._chunks.append(result)
        if result.must_have_history or is_whole(self._chunks):
            self.done()

    def done(self) -> None:
        """The answer is durable on its way to the owner."""
        self._end(Outcome())

    def give_back(self, why: str) -> None:
        self._end(Stall(GIVEN_BACK, why))

    def fail(self) -> None:
        self.give_back("its server failed at handing it out")

    def convict(self, stall: Stall) -> None:
        self.give_back(stall.description)

    def _end(self, outcome: Outcome | Stall) -> None:
        if not self.ended.done():
            self.ended.set_result(outcome)


class Borrowing:
    """The engine's borrower for one app. `lacking` tells whether some other server may have to lend such work."""

    is_remote = True

    def __init__(self, app: str, dispatcher: Dispatcher, lacking: Callable[[str], bool]) -> None:
        self._app = app
        self._dispatcher = dispatcher
        self._lacking = lacking
        self._turns: dict[tuple[Kind, str], Lent] = {}

    def takes(self) -> Sequence[str]:
        """What the workers that are connected take."""
        return list(dict.fromkeys(takes_of(self._streams())))

    def activities(self) -> Collection[str]:
        """The names under which such work is offered, of that alone which others lack: else nobody lends it."""
        return {call_of(take) for take in self.takes() if self._lacking(take)}

    def room(self) -> int:
        return sum(stream.room_for(kind) for stream in self._streams() for kind in Kind)

    async def attempt(
        self, work: Attempt, beat: Callable[[Payload | None], None], outlet: Callable[[], Outlet]
    ) -> Outcome | Stall:
        """Have a worker do what is lent."""
        dispatcher = self._dispatcher
        try:
            content = read(work.input)
        except ValueError as error:
            return Stall(GIVEN_BACK, f"it cannot be read here: {error}")
        if dispatcher.peek(content.token) is not None:
            return Stall(GIVEN_BACK, "this server has lent it itself")
        if not any(stream.accepts(content.need) for stream in self._streams()):
            return Stall(GIVEN_BACK, "no worker here has its code any more")
        lent = Lent(content, beat)
        key = (content.kind, content.instance)
        before = self._turns.get(key) if content.kind is not Kind.ACTIVITY else None
        if before is not None:
            before.give_back("its owner has lent it anew")  # because a worker has one turn of an instance at a time
            dispatcher.withdraw(before, tells=True)
        if content.kind is not Kind.ACTIVITY:
            self._turns[key] = lent
        dispatcher.submit(lent)
        try:
            return await lent.ended
        finally:
            dispatcher.withdraw(lent, tells=lent.ended.cancelled())
            if self._turns.get(key) is lent:
                del self._turns[key]

    def _streams(self) -> list[WorkerStream]:
        streams = self._dispatcher.streams
        return [stream for stream in streams if stream.app == self._app and not stream.is_inner]

    def __repr__(self) -> str:
        return f"<Borrowing for {self._app}>"
