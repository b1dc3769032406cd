"""The runs that a worker keeps live, so that a turn brings only what is new: which history each of them has seen."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from perdure.engine.ports import Executor, LiveRun
from perdure.history.actions import Action, CompleteRun, ContinueRun
from perdure.history.delivery import Gate, turns, version_of
from perdure.history.events import CONFIRMATIONS
from perdure.history.work import Identity, Stall
from perdure.remote.native.codec import Turn
from perdure.remote.requests import TurnResult
from perdure.sdk.run import is_seen

RUNS_MAX = 2_000
"""Runs that a worker keeps in memory; the one that had no turn for the longest time goes, and is replayed if asked."""

Key = tuple[str, str, int]
Done = Callable[[TurnResult], None]


class Held:
    """A run's code. `token` is that of the last turn that it took to its end, "" while it takes one."""

    __slots__ = ("gate", "live", "token")

    def __init__(self, live: LiveRun, gate: Gate) -> None:
        self.live = live
        self.gate = gate
        self.token = ""


class LiveRuns:
    """Takes turns on code that is kept, or brought to where history is."""

    def __init__(self, executor: Executor, runs_max: int = RUNS_MAX) -> None:
        self._executor = executor
        self._runs_max = runs_max
        self._held: OrderedDict[Key, Held] = OrderedDict()

    def take(self, turn: Turn, done: Done) -> None:
        """Take a turn; `done` hears, now or later, what the code asked for, why it could not, or that the whole
        history is needed."""
        key = _key(turn.identity)
        held = self._continued(key, turn) if turn.after else self._opened(key, turn)
        if held is None:
            self._drop(key)
            done(TurnResult(instance=turn.identity.instance, token=turn.token, must_have_history=True))
        elif isinstance(held, Stall):
            done(TurnResult(instance=turn.identity.instance, token=turn.token, stall=held))
        else:
            self._advance(key, held, turn, done)

    def close(self) -> None:
        """Put all code away."""
        while self._held:
            _, held = self._held.popitem()
            held.live.close()

    def _continued(self, key: Key, turn: Turn) -> Held | None:
        """The run, if it ended with the turn before and nothing that its code should have seen happened since."""
        held = self._held.get(key)
        if held is None or held.token != turn.after:
            return None
        self._held.move_to_end(key)
        for past in turns(turn.past):
            arrived = [event for event in past if not isinstance(event, CONFIRMATIONS)]
            if any(is_seen(event) for event in held.gate.pass_through(arrived)):
                return None
        return held

    def _opened(self, key: Key, turn: Turn) -> Held | Stall:
        self._drop(key)
        identity = turn.identity
        if turn.past:
            identity = msgspec.structs.replace(identity, version=version_of(turn.past) or identity.version)
        live = self._executor.open(identity, is_new=not turn.past)
        if isinstance(live, Stall):
            return live
        gate = Gate()
        stall = live.replay([turn.past], gate) if turn.past else None
        if stall is not None:
            live.close()
            return stall
        held = self._held[key] = Held(live, gate)
        while len(self._held) > self._runs_max:
            _, oldest = self._held.popitem(last=False)
            oldest.live.close()
        return held

    def _advance(self, key: Key, held: Held, turn: Turn, done: Done) -> None:
        held.token = ""  # because a turn that does not end leaves code that no history tells of

        def advanced(result: list[Action] | Stall) -> None:
            done(self._ended(key, held, turn, result))

        seen = held.gate.pass_through(turn.new[1:])
        if seen:
            held.live.advance(turn.new[0].at, seen, advanced)
        else:
            advanced([])

    def _ended(self, key: Key, held: Held, turn: Turn, result: list[Action] | Stall) -> TurnResult:
        if isinstance(result, Stall):
            self._drop_if(key, held)
            return TurnResult(instance=turn.identity.instance, token=turn.token, stall=result)
        held.token = turn.token
        if _is_over(result):
            self._drop_if(key, held)
        return TurnResult(instance=turn.identity.instance, token=turn.token, actions=result)

    def _drop_if(self, key: Key, held: Held) -> None:
        if self._held.get(key) is held:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            held.live.close()

    def __len__(self) -> int:
        return len(self._held)

    def __repr__(self) -> str:
        return f"<LiveRuns: {len(self._held)} of {self._runs_max}>"


def _key(identity: Identity) -> Key:
    return identity.instance, identity.execution, identity.generation


def _is_over(actions: Sequence[Any]) -> bool:
    return any(isinstance(action, (CompleteRun, ContinueRun)) for action in actions)
