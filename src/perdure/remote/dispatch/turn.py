"""A turn for a remote worker: what it is sent, and which answer counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from perdure.errors import PerdureError
from perdure.history.actions import Action, BeginTurn
from perdure.history.events import TurnStarted
from perdure.history.work import Stall
from perdure.remote.dispatch.dispatcher import Dispatcher
from perdure.remote.dispatch.verdict import UNFORESEEN, is_decided, too_large, unasked
from perdure.remote.dispatch.work import Kind, Need, Peer, Work
from perdure.remote.requests import Flavour, TurnItem, TurnResult
from perdure.remote.security import Grant

if TYPE_CHECKING:
    from perdure.remote.dispatch.run import RemoteRun

Done = Callable[[list[Action] | Stall], None]


class TurnWork(Work):
    """A turn for a worker."""

    __slots__ = ("_answers", "_asked", "_chunks", "_events", "_in_full", "done", "run")

    def __init__(self, run: RemoteRun, events: list[Any], done: Done) -> None:
        identity = run.identity
        need = Need(identity.app, Kind.TURN, identity.name, identity.version or "")
        super().__init__(need, identity.instance, home=run)
        self.run = run
        self.done = done
        self._events = events
        self._asked: int = events[0].at
        self._in_full = False
        self._chunks: list[TurnResult] = []
        self._answers: list[Action] = []

    def item(self, peer: Peer) -> bytes | None:
        """The turn with its history, or with what the worker does not have of it; a stall if it is too large."""
        run, codec = self.run, peer.codec
        if run.now is not None:  # because it may have waited for a worker, or come back from one
            self._events[0] = TurnStarted(at=max(self._asked, run.now()))
        past = run.past(codec)
        after, known = run.lived_through(peer) if codec.flavour is Flavour.PERDURE else ("", _remembered(run, peer))
        if self._in_full or peer.is_relay:
            after, known = "", 0
        cached = known if 0 < known <= len(past) else None
        self._in_full = False
        self._chunks.clear()
        self._answers = unasked(self._events, codec.shows)
        if is_decided(self._answers, self._events):
            self.run.retract()
            self.done(self._answers)
            return None
        asked = TurnItem(
            instance=run.identity.instance,
            execution=run.execution,
            past=past[cached or 0 :],
            new=run.encoded(codec, self._events),
            token=self.token,
            cached=cached,
            trace=run.trace,
            lineage=run.lineage,
            app=run.identity.app,
            after=after,
            identity=run.identity,
        )
        item = self._written(asked, peer)
        if item is not None and peer.is_stateful and codec.flavour is not Flavour.PERDURE:
            peer.remember(run, len(past))
        return item

    def _written(self, asked: TurnItem, peer: Peer) -> bytes | None:
        """The item as bytes. One that is too large goes without its history to a worker that fetches that in parts."""
        try:
            item = peer.codec.turn_item(asked)
            if len(item) > peer.item_bytes_max and peer.fetches_history:
                item = peer.codec.turn_item(msgspec.structs.replace(asked, past=(), must_stream_history=True))
        except PerdureError as error:
            self._stall(Stall("payload-not-decodable", str(error)))
            return None
        if len(item) > peer.item_bytes_max:
            self._stall(too_large(len(item), peer.item_bytes_max))
            return None
        return item

    @property
    def beginning(self) -> Sequence[Action]:
        """When it was handed out, if that was later than it was asked for."""
        at: int = self._events[0].at
        return [BeginTurn(at=at)] if at > self._asked else []

    @property
    def answers(self) -> Sequence[Action]:
        """What the worker was not asked, as it has no word for it, and what is answered in its place."""
        return self._answers

    def fail(self) -> None:
        self._stall(UNFORESEEN)

    def convict(self, stall: Stall) -> None:
        self._stall(stall)

    def _stall(self, stall: Stall) -> None:
        self.run.retract()
        self.done(stall)

    def take(self, result: TurnResult, dispatcher: Dispatcher, grant: Grant) -> None:
        """A worker's answer: the whole, a part of it, or the wish for the whole history.

        `grant` is that of the stream on which the worker got the turn.
        """
        if result.must_have_history:
            dispatcher.abandon(self.token)
            self._in_full = True
            dispatcher.submit(self)
            return
        if result.chunk is None or all(chunk.chunk != result.chunk for chunk in self._chunks):
            self._chunks.append(result)  # because a part may be told twice
        if not is_whole(self._chunks):
            dispatcher.touch(self.token)
            return
        token = self.token
        dispatcher.answered(token)
        self.run.ended(self, whole(self._chunks), token, grant)


def _remembered(run: RemoteRun, peer: Peer) -> int:
    return peer.remembers(run) if peer.is_stateful else 0


def is_whole(chunks: Sequence[TurnResult]) -> bool:
    """Whether the last part is there and, where they are numbered, each before it: one that came to another server is
    on its way through the store when the last one arrives here."""
    last = next((chunk for chunk in chunks if not chunk.is_partial), None)
    return last is not None and (last.chunk is None or len(chunks) > last.chunk)


def whole(chunks: Sequence[TurnResult]) -> TurnResult:
    """One result from those that a worker sent in parts; the last one has what is there once."""
    if len(chunks) == 1:
        return chunks[0]
    ordered = sorted(chunks, key=lambda chunk: chunk.chunk or 0)
    return msgspec.structs.replace(ordered[-1], actions=[action for chunk in ordered for action in chunk.actions])
