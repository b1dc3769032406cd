"""What must hold of actors: an independent record of their turns, of who is in one, and of all money there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from perdure.codec import Signature, decode
from perdure.engine.shard import Shard
from perdure.history.events import EntitySignaled, MessagePublished, decode_event
from perdure.stores.contract import Turn
from perdure.testing.witness import Witness

PREFIX = "@Account@"
"""How the ids of accounts begin."""
HIRED = "hired-"
"""How the ids of instances begin that accounts start."""
CASH = "cash"
"""How the names of transfers begin that come from nowhere."""
BY_MESSAGE = ("hand", "save")
"""How the names of transfers begin that leave as a message with the turn in which they are taken off."""
REMINDER = "save"


class Kept(msgspec.Struct, frozen=True):
    """The state of an account: its money, transfers with their amounts by name, and what else its turns have sent."""

    balance: int = 0
    got: dict[str, int] = {}
    sent: dict[str, int] = {}
    told: list[str] = []
    hired: list[str] = []
    plans: int = 0
    saves: int = 0


class Books(msgspec.Struct, frozen=True):
    """What there must be in the end: all money that was paid in, and how often each account was reminded."""

    funds: int
    saves: dict[str, int]


class ActorLaws:
    """Accuses before the witness whatever is not whole, as soon as it is seen.

    `shard_here` gives the shard, as the node whose code runs has taken it up, to which an actor belongs.
    """

    def __init__(self, witness: Witness, shard_here: Callable[[str], Shard | None]) -> None:
        self.states: dict[str, Kept] = {}
        self._witness = witness
        self._shard_here = shard_here
        self._inside: Counter[tuple[str, Shard | None]] = Counter()
        self._tokens = 0
        self._doomed: set[str] = set()
        self._receivers: dict[str, str] = {}

    # -- while its code runs --------------------------------------------------------------------------------------

    @contextmanager
    def inside(self, key: str) -> Iterator[str]:
        """A method runs; its run has a name that no other has, and that must not be seen if it raises."""
        shard = self._shard_here(PREFIX + key)
        place = key, shard
        if shard is not None and self._inside[place]:  # because None is any node that gives its shard away
            self._witness.accuse(f"two methods of {key} run at once under {shard!r}")
        self._inside[place] += 1
        self._tokens += 1
        token = f"run {self._tokens}"
        try:
            yield token
        except BaseException:
            self._doomed.add(token)
            raise
        finally:
            self._inside[place] -= 1

    # -- what is committed ----------------------------------------------------------------------------------------

    def turn(self, turn: Turn) -> None:
        """A turn of whatever instance was committed."""
        if not turn.id.startswith(PREFIX) or turn.head is None:
            return
        before = self.states.get(turn.id, Kept())
        state = decode(turn.head.custom_status, Kept) if turn.head.custom_status is not None else Kept()
        self.states[turn.id] = state
        self._weigh(turn.id, before, state)
        self._compare(turn, before, state)

    def _weigh(self, id: str, before: Kept, state: Kept) -> None:
        """No money is there that did not come, nothing that came is changed, and nothing comes to two."""
        if state.balance != sum(state.got.values()) - sum(state.sent.values()) or state.balance < 0:
            self._witness.accuse(f"{id} has {state.balance}, which is not what came and went: {state}")
        if not (before.got.items() <= state.got.items() and before.sent.items() <= state.sent.items()):
            self._witness.accuse(f"{id} has forgotten transfers: {before} became {state}")
        for transfer in state.got.keys() - before.got.keys():
            if self._receivers.setdefault(transfer, id) != id:
                self._witness.accuse(f"{transfer} came to {self._receivers[transfer]} and to {id}")
            self._witness.probes["transfer received"] += 1

    def _compare(self, turn: Turn, before: Kept, state: Kept) -> None:
        """What the turn has sent is what its state tells of, and nothing of a method that failed."""
        new = state.sent.keys() - before.sent.keys()
        told = Counter(state.told) - Counter(before.told)
        hired = Counter(state.hired) - Counter(before.hired)
        sent = _Sent(turn)
        if sent.transfers != Counter(transfer for transfer in new if transfer.startswith(BY_MESSAGE)):
            self._witness.accuse(f"a turn of {turn.id} took off {sorted(new)} and has sent {sent.transfers}")
        if sent.statements != told or sent.starts != hired:
            text = f"has published {sent.statements} and started {sent.starts}"
            self._witness.accuse(f"a turn of {turn.id} kept {told} and {hired} and {text}")
        is_set = any(wait.token == REMINDER for wait in turn.opened)
        if is_set != (state.plans > before.plans):
            self._witness.accuse(f"a turn of {turn.id} has made {state.plans - before.plans} plans; reminder: {is_set}")
        doomed = self._doomed & {*told, *hired, *sent.statements, *sent.starts}
        if doomed:
            self._witness.accuse(f"a turn of {turn.id} has what a method did that failed: {doomed}")
        self._witness.probes["message sent with the turn of an actor"] += sent.transfers.total()

    # -- at the end -----------------------------------------------------------------------------------------------

    def inspect(self, books: Books, statements: Sequence[str]) -> None:
        """All money is there, whatever was sent has come, each reminder came as often as it should, and what was
        published and started is what states tell of."""
        accuse, states = self._witness.accuse, self.states.values()
        total = sum(state.balance for state in states)
        if total != books.funds:
            accuse(f"there are {total} in all; {books.funds} were paid in")
        sent = {transfer: amount for state in states for transfer, amount in state.sent.items()}
        got = {transfer: amount for state in states for transfer, amount in state.got.items()}
        moved = {transfer: amount for transfer, amount in got.items() if not transfer.startswith(CASH)}
        if sent != moved:
            accuse(f"sent and not received: {sent.items() - moved.items()}; not sent: {moved.items() - sent.items()}")
        counts = {id.removeprefix(PREFIX): state.saves for id, state in self.states.items() if state.saves}
        if counts != books.saves:
            accuse(f"reminders came {counts} times, not {books.saves}")
        told = Counter(token for state in states for token in state.told)
        if Counter(statements) != told:
            accuse(f"published were {Counter(statements) - told} beyond, and not {told - Counter(statements)}")
        hired = Counter(token for state in states for token in state.hired)
        runs = {key[:2] for key in self._witness.records if key[0].startswith(HIRED)}
        started = Counter(id.removeprefix(HIRED) for id, _ in runs)
        if started != hired:
            accuse(f"started were {started - hired} beyond, and not {hired - started}")

    def __repr__(self) -> str:
        return f"<ActorLaws of {len(self.states)} accounts>"


class _Sent:
    """What a turn sends: names of transfers, and names of the runs that have published and started something."""

    def __init__(self, turn: Turn) -> None:
        self.transfers: Counter[str] = Counter()
        self.statements: Counter[str] = Counter()
        self.starts: Counter[str] = Counter()
        for creation in turn.created:
            if creation.head.id.startswith(HIRED):
                self.starts[creation.head.id.removeprefix(HIRED)] += 1
                continue
            event = decode_event(creation.mail.event)
            match event:
                case EntitySignaled(operation="deposit"):
                    self.transfers[_ARGUMENTS.decode(event.input)[0][0]] += 1
                case MessagePublished():
                    self.statements[decode(event.data, str)] += 1


def _deposit(transfer: str, amount: int) -> None:
    """As the method of that name is called."""


_ARGUMENTS = Signature(_deposit)
