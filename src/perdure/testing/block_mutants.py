"""Topics and actors with one safeguard taken out each: what worlds that have both must catch."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from perdure.blocks.actors import stage
from perdure.blocks.actors.activation import Activation
from perdure.blocks.actors.turn import Turn
from perdure.engine import topic_groups
from perdure.engine.entity import Entity
from perdure.engine.topic_intake import Memory
from perdure.history import entity_queue, settle
from perdure.history.actions import SignalEntity
from perdure.history.delayed import close
from perdure.history.entities import hashed, is_entity
from perdure.history.handling import Handled
from perdure.history.topic_line import Line
from perdure.sdk.publishing import OUTBOX
from perdure.sdk.subscriptions import Handler
from perdure.sdk.worker import Worker
from perdure.testing.mutants import Mutant

# -- topics -----------------------------------------------------------------------------------------------------------


def _past_what_is_in_hand(standing: Any) -> Any:
    return lambda self, group: msgspec.structs.replace(standing(self, group), pending=())


def _side_by_side(come_past: Any) -> Any:
    def mutated(self: Any, taken: Any, due: int) -> None:
        key = taken.message.key
        is_behind = key is not None and key in self._held
        come_past(self, taken, due)
        if is_behind:
            self._held[key].remove(taken.position)
            self._ready.append(taken.position)

    return mutated


def _late_retries_first(retry: Any) -> Any:
    """A message that failed lets those behind it go first."""

    def mutated(self: Any, position: int, due: int) -> None:
        retry(self, position, due)
        behind = self._held.get(self._known[position].message.key)
        if behind:
            self._ready.append(behind.popleft())

    return mutated


def _without_memory(_: Any) -> Any:
    def mutated(self: Any, intake: Any, event: Any, key: str | None) -> None:
        intake.messages.append(event)

    return mutated


def _starting_anew(carry_out: Any) -> Any:
    """What a message starts has a new execution, under an id that may be used again."""

    def mutated(draft: Any, *rest: Any) -> None:
        carry_out(draft, *rest)
        for place, creation in enumerate(draft.created):
            if not is_entity(creation.head.id):
                head = msgspec.structs.replace(creation.head, execution=hashed(f"{draft.at} {place}"))
                draft.created[place] = msgspec.structs.replace(creation, head=head, unique=False)

    return mutated


def _publishing_all_the_same(handle: Any) -> Any:
    """A handler that fails is done, with what it has published."""

    async def mutated(self: Any, message: Any, attempt: int) -> Handled:
        try:
            return await handle(self, message, attempt)  # type: ignore[no-any-return]
        except ValueError:
            return Handled(messages=OUTBOX.get().messages)

    return mutated


def _with_those_of_failed_attempts(attempt: Any) -> Any:
    """What attempts have published that failed goes out with the one that succeeds."""

    async def mutated(self: Any, activity: Any, work: Any, *rest: Any) -> Any:
        outcome = await attempt(self, activity, work, *rest)
        lost = self.__dict__.setdefault("lost", {}).setdefault(work.key, [])
        if outcome.failure is None:
            return msgspec.structs.replace(outcome, messages=[*lost, *outcome.messages])
        lost += OUTBOX.get().messages
        return outcome

    return mutated


def _dropping_messages(_: Any) -> Any:
    return lambda draft, message: None


# -- actors -----------------------------------------------------------------------------------------------------------


def _forgetting_what_it_did(turn_of: Any) -> Any:
    def mutated(self: Any, draft: Any, consumed: list[str]) -> Any:
        turn = turn_of(self, draft, consumed)
        return turn if turn is None else msgspec.structs.replace(turn, seen=[])

    return mutated


def _knowing_its_queue_alone(_: Any) -> Any:
    return lambda self, key: key in self._seen or key in self._callers or any(key == one.key for one in self._queue)


def _beside_others(_: Any) -> Any:
    """Whatever comes makes an actor take a turn, be it in one."""
    return lambda self: asyncio.get_running_loop().call_soon(self._take_turn)


def _keeping_all(_: Any) -> Any:
    def mutated(self: Any) -> None:
        """The fields stay as the method that failed has left them."""
        if self.clean is self.durable:
            self.kind.fill(self.actor, self.kind.read(self.clean))

    return mutated


def _sending_all(operate: Any) -> Any:
    """What a method asked for that failed goes out with the next one."""

    async def mutated(self: Any, event: Any, turn: Any) -> Any:
        operated = await operate(self, event, turn)
        if operated.failure is not None:
            self._actions += turn.actions
        return operated

    return mutated


def _sending_no_message(act: Any) -> Any:
    return lambda draft, action: None if isinstance(action, SignalEntity) else act(draft, action)


def _renaming(next_request: Any) -> Any:
    """A method that is run again asks under other names."""

    def mutated(self: Any) -> str:
        _names.append(None)
        return f"{next_request(self)}.{len(_names)}"

    return mutated


_names: list[None] = []


def _coming_once(_: Any) -> Any:
    def mutated(draft: Any, number: int, *, failed: bool) -> bool:
        close(draft, number)
        return False

    return mutated


def _always_the_same(_: Any) -> Any:
    """Who is in memory is taken for what the store has."""
    return lambda one, other: True


BLOCK_MUTANTS = (
    Mutant("a group's place written past what is in hand", Line, "standing", _past_what_is_in_hand),
    Mutant("messages of a key handled side by side", Line, "_come_past", _side_by_side),
    Mutant("messages of a key go on while one waits for its next attempt", Line, "retry", _late_retries_first),
    Mutant("events appended whenever they come", Memory, "_publish", _without_memory),
    Mutant("runs started anew by a message that comes again", topic_groups, "carry_out", _starting_anew),
    Mutant("a handler that fails taken for one that is done", Handler, "handle", _publishing_all_the_same),
    Mutant("messages of failed attempts published", Worker, "_attempt", _with_those_of_failed_attempts),
    Mutant("messages of attempts not in the turn that takes their result", settle, "publish", _dropping_messages),
    Mutant("an actor forgets what it has done", Entity, "_turn_of", _forgetting_what_it_did),
    Mutant("a call that came as mail done again", Entity, "_has_taken", _knowing_its_queue_alone, seed=10),
    Mutant("two turns of an actor at once", Entity, "_wake", _beside_others),
    Mutant("state of a failed method kept", Activation, "restore", _keeping_all),
    Mutant("messages of a failed method sent", Activation, "operate", _sending_all, seed=5),
    Mutant("state of a turn written without its messages", entity_queue, "_act", _sending_no_message),
    Mutant("calls of a method that is run again under other names", Turn, "next_request", _renaming, seed=14),
    Mutant("reminders that come once", entity_queue, "come_again", _coming_once),
    Mutant("actors in memory taken for what is stored", stage, "_is_same", _always_the_same, seed=7),
)
