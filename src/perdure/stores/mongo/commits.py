"""A batch as changes of single instances: which turns and appends are each one's, and what they send. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from perdure.stores.contract import Append, Batch, Outcome, Turn
from perdure.stores.instance import Instance, has_offers
from perdure.stores.mongo.documents import Doc, Document, Letter, key_of, letter_text, new
from perdure.stores.mongo.heads import Decided
from perdure.stores.mongo.notices import number_of


@dataclass(slots=True)
class Part:
    """What a batch writes to one instance, by the places of the outcomes; letters are those of the turn at a place."""

    turns: list[tuple[int, Turn]] = field(default_factory=list)
    appends: list[tuple[int, Append]] = field(default_factory=list)
    letters: dict[int, dict[str, Letter]] = field(default_factory=dict)


class Commit:
    """A batch on its way under the number that its shard has given to it."""

    def __init__(self, batch: Batch, token: str, bytes_max: int) -> None:
        self.batch = batch
        self.outcomes: list[Outcome | None] = [None] * (len(batch.turns) + len(batch.appends))
        self.token = token
        self._parts: dict[str, Part] = {}
        for place, turn in enumerate(batch.turns):
            if _size_of_turn(turn) > bytes_max:
                self.outcomes[place] = Outcome.TOO_LARGE
            else:
                self._part(turn.id).turns.append((place, turn))
        for place, append in enumerate(batch.appends, len(batch.turns)):
            if sum(len(value.data) for value in append.values) > bytes_max:
                self.outcomes[place] = Outcome.TOO_LARGE
            else:
                self._part(append.id).appends.append((place, append))

    @property
    def offers(self) -> bool:
        """Whether other nodes have something to claim."""
        turns = zip(self.batch.turns, self.outcomes, strict=False)
        return any(has_offers(turn) for turn, outcome in turns if outcome is Outcome.COMMITTED)

    @property
    def ids(self) -> list[str]:
        return list(self._parts)

    def decide(self, id: str, document: Document | None, held: Doc | None) -> Decided[dict[int, Outcome]]:
        """Appends come first, so that an item may come with the turn that closes its call."""
        part = self._parts[id]
        said: dict[int, Outcome] = {}
        for place, append in part.appends:
            said[place] = Outcome.CONFLICT if document is None else document.instance.append(append)
        for place, turn in part.turns:
            said[place], document = self._turn(turn, document, held)
            if document is not None and said[place] is Outcome.COMMITTED:
                letters = part.letters.get(place, {})
                document.outbox |= {name: letter_text(letter) for name, letter in letters.items()}
        if document is None or Outcome.COMMITTED not in said.values():
            return Decided(said)
        document.token = self.token
        return Decided(said, document, too_large=dict.fromkeys(said, Outcome.TOO_LARGE))

    def _turn(self, turn: Turn, document: Document | None, held: Doc | None) -> tuple[Outcome, Document | None]:
        if turn.expected is None:
            if document is not None and not document.instance.makes_room(turn):
                return Outcome.EXISTS, document
            document = new(self.batch.lease.shard, Instance.started(turn), document, held, None)
        elif document is None or document.instance.take(turn) is not Outcome.COMMITTED:
            return Outcome.CONFLICT, document
        elif turn.erase:
            document.first, document.count = document.instance.head.sequence, 0
        document.count += turn.segment is not None
        return Outcome.COMMITTED, document

    def settle(self, said: dict[str, dict[int, Outcome]]) -> None:
        """Note the outcomes."""
        for outcomes in said.values():
            for place, outcome in outcomes.items():
                self.outcomes[place] = outcome

    def told(self) -> list[Outcome]:
        """The outcomes of turns, then of appends."""
        return [outcome for outcome in self.outcomes if outcome is not None]

    def letters(self) -> list[tuple[str, str, Letter]]:
        """Those that were written, with the key of their sender and their name there, in the order to arrive."""
        return sorted(
            (
                (key_of(self.batch.lease.shard, id), name, letter)
                for id, part in self._parts.items()
                for place, letters in part.letters.items()
                if self.outcomes[place] is Outcome.COMMITTED
                for name, letter in letters.items()
            ),
            key=lambda letter: letter[1],
        )

    def _part(self, id: str) -> Part:
        return self._parts.setdefault(id, Part())

    def address(self, number: int) -> None:
        """Give the letters names in the order in which they are to arrive: creations of all turns, then their mail.

        The number is higher than that of any commit of the shard before.
        """
        app = self.batch.lease.app
        turns = [(place, turn) for part in self._parts.values() for place, turn in part.turns]
        letters = [(place, turn, letter) for place, turn in turns for letter in _creations(turn, app)]
        letters += [(place, turn, letter) for place, turn in turns for letter in _messages(turn, app)]
        told = [(place, turn, notice) for place, turn in turns for notice in turn.notices]
        letters += [
            (place, turn, Letter(app, turn.at, notice=notice, number=number_of(number, count)))
            for count, (place, turn, notice) in enumerate(told)
        ]
        for count, (place, turn, letter) in enumerate(letters):
            self._parts[turn.id].letters.setdefault(place, {})[f"_{number:012x}{count:08x}"] = letter


def _creations(turn: Turn, app: str) -> Iterator[Letter]:
    for creation in turn.created:
        yield Letter(app, turn.at, creation=creation)


def _messages(turn: Turn, app: str) -> Iterator[Letter]:
    for mail in turn.mail:
        yield Letter(app, turn.at, mail=mail)
    if turn.permits:
        yield Letter(app, turn.at, permits=list(turn.permits))


def _size_of_turn(turn: Turn) -> int:
    """About how many bytes it brings."""
    waits = [*turn.opened, *turn.changed]
    payloads = [payload.data for wait in waits for payload in (wait.input, wait.details) if payload is not None]
    texts = [text for wait in waits for text in (wait.options, wait.failure) if text is not None]
    texts += [mail.event for mail in turn.mail] + [one.mail.event for one in turn.created]
    texts += [one.value for one in turn.published]
    return len(turn.segment or b"") + sum(map(len, payloads)) + sum(map(len, texts))
