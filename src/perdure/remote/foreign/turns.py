"""Turns for a server that sends the whole history each time: the code is brought through it, and then one turn on."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Any

import msgspec

from perdure.errors import NotSupportedByServer
from perdure.history.actions import Action, CompleteRun
from perdure.history.delivery import Delivery, Gate, turns, version_of
from perdure.history.events import CONFIRMATIONS, Failure, RunStarted, RunTerminated, TurnStarted
from perdure.history.replay import compare
from perdure.history.work import Identity, Stall
from perdure.remote.dispatch.verdict import UNCONFIRMED
from perdure.remote.foreign.arguments import inward
from perdure.remote.foreign.translation import Translation
from perdure.remote.requests import Flavour, TurnItem, TurnResult
from perdure.remote.wire.codec import Codec
from perdure.remote.wire.framing import unframed
from perdure.sdk.worker import LiveRun, Worker

SYNTHETIC = -1
"""The number of an end that the code has not asked for."""


class ForeignTurns:
    """Takes turns of an app's code as one flavour of the wire tells them."""

    def __init__(self, app: str, worker: Worker, codec: Codec) -> None:
        self._app = app
        self._worker = worker
        self._codec = codec

    def take(self, item: TurnItem) -> TurnResult:
        """What the code asks for. Raises MalformedMessage for a history that cannot be read."""
        past, new = self._events(item.past), self._events(item.new)
        terminated = next((event for event in new if isinstance(event, RunTerminated)), None)
        if terminated is not None:
            return _ended(item, CompleteRun(number=SYNTHETIC, status="terminated", output=terminated.output))
        started = next((event for event in (*past, *new) if isinstance(event, RunStarted)), None)
        if started is None:
            return _failed(item, "HistoryCorrupt", f"the history of {item.instance!r} does not begin with its start")
        live = self._worker.open(self._identity(item, started, past, new), is_new=not past)
        if isinstance(live, Stall):
            return _failed(item, live.reason, live.description)
        try:
            return self._taken(item, live, past, new)
        except NotSupportedByServer as error:
            return _failed(item, type(error).__name__, str(error))
        finally:
            live.close()

    def _taken(self, item: TurnItem, live: LiveRun, past: list[Any], new: list[Any]) -> TurnResult:
        execution = _execution(item.execution)
        translation = Translation(item.instance, execution, self._codec.flavour, _chance, self._worker.timeout_of)
        gate = Gate()
        for turn in turns(past):
            translation.status = None
            stall = _retraced(live, translation, gate, turn)
            if stall is not None:
                return _failed(item, stall.reason, stall.description)
        translation.status = translation.version = None
        known = [patch for event in past for patch in getattr(event, "patches", None) or ()]
        translation.patches = list(known)
        actions = _advanced(live, translation, gate, new)
        if isinstance(actions, Stall):
            return _failed(item, actions.reason, actions.description)
        return TurnResult(
            instance=item.instance,
            token=item.token,
            actions=actions,
            status=translation.status,
            version=translation.version if self._codec.flavour is Flavour.DAPR else None,
            patches=translation.patches if translation.patches and self._codec.flavour is Flavour.DAPR else None,
            trace=item.trace,
        )

    def _events(self, frames: Sequence[bytes]) -> list[Any]:
        return [_readable(self._codec.read_event(unframed(frame))) for frame in frames]

    def _identity(self, item: TurnItem, started: RunStarted, past: list[Any], new: list[Any]) -> Identity:
        first = next((event.at for event in (*past, *new) if isinstance(event, TurnStarted)), started.at)
        return Identity(
            app=self._app,
            instance=item.instance,
            execution=_execution(item.execution),
            generation=1,
            name=started.name,
            started=first,
            parent=started.parent.instance if started.parent is not None else None,
            tags=started.tags,
            version=version_of(past) or started.version or None,
        )


def _retraced(live: LiveRun, translation: Translation, gate: Gate, turn: Sequence[Any]) -> Stall | None:
    """Bring code through a turn of history; what stands against it."""
    at = turn[0].at
    arrived = [event for event in turn if not isinstance(event, CONFIRMATIONS)]
    seen, asked = translation.arrived(at, gate.pass_through(arrived))
    result = live.retrace(Delivery(at, seen, turn), is_whole=False)
    if isinstance(result, Stall):
        return result
    asked += translation.asked(at, result)
    difference = compare(turn, _confirmed(asked, turn), live.run.finished)
    if difference is not None:
        return Stall("non-determinism", str(difference))
    return None


def _confirmed(asked: Sequence[Action], turn: Sequence[Any]) -> list[Action]:
    """What is to be found in history: of some kinds of actions only some servers show the events."""
    held = {event.number for event in turn if isinstance(event, CONFIRMATIONS)}
    return [action for action in asked if not isinstance(action, UNCONFIRMED) or action.number in held]


def _advanced(live: LiveRun, translation: Translation, gate: Gate, new: list[Any]) -> list[Action] | Stall:
    at = next((event.at for event in new if isinstance(event, TurnStarted)), new[0].at if new else 0)
    seen, asked = translation.arrived(at, gate.pass_through(new))
    results: list[list[Action] | Stall] = []
    live.advance(at, seen, results.append)
    (result,) = results
    return result if isinstance(result, Stall) else asked + translation.asked(at, result)


def _readable(event: Any) -> Any:
    return msgspec.structs.replace(event, input=inward(event.input)) if isinstance(event, RunStarted) else event


def _execution(told: str) -> str:
    """An execution id of the form that Perdure's own have, since others have other forms."""
    return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()


def _chance(about: str) -> float:
    return random.Random(about).random()


def _ended(item: TurnItem, end: CompleteRun) -> TurnResult:
    return TurnResult(instance=item.instance, token=item.token, actions=[end])


def _failed(item: TurnItem, kind: str, text: str) -> TurnResult:
    """The run fails, as it does with any other SDK, because these servers have no word for one that stands still."""
    failure = Failure(type=kind, message=text, non_retryable=True)
    return _ended(item, CompleteRun(number=SYNTHETIC, status="failed", failure=failure))
