"""The entries of the audit log: each names the digest of the one before, so that a changed, lost or moved one shows."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec

TEXT_CHARACTERS_MAX = 1_000
"""What an entry keeps of one text that a caller gave, such as a reason."""


class Principal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who acts. `kind` is "program" for one that has the engine in it, "cli", "dashboard" for whoever has it open in a
    browser, "mcp" for a model with the tools of `perdure mcp`, or "server" for a server's callers.

    `name` is the program, the user of the operating system, or the token that was shown ("anonymous" without one);
    `place` the machine or address that it acts from. `claims` is who a server's caller, or a model's program, says that
    it is, without proof.
    """

    kind: str
    name: str
    place: str
    claims: str = ""


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was known of an instance before or after an action."""

    status: str
    execution: str
    run: int
    suspended: bool = False
    stalled: bool = False


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry, numbered from 1. `at` in microseconds since 1970 UTC; `previous` is the digest of the entry before.

    An action is entered before it is carried out. What became of it is an entry of its own, later, with `of` for the
    number of the first: its `outcome` is "done" or the code of the error, and `after` how the instance stood then.
    """

    number: int
    previous: str
    at: int
    app: str
    action: str
    instance: str
    actor: Principal
    details: dict[str, Any] = {}
    before: Standing | None = None
    of: int | None = None
    outcome: str | None = None
    after: Standing | None = None


class Anchor(msgspec.Struct, frozen=True):
    """How far a log goes: the number of its last entry and that entry's digest; 0 and "" for an empty one."""

    number: int = 0
    digest: str = ""

    def __str__(self) -> str:
        return f"{self.number}:{self.digest}"


class LogPage(msgspec.Struct, frozen=True):
    """Entries as they are stored, by number, and the anchor that is kept apart from them."""

    entries: list[tuple[int, str]]
    anchor: Anchor


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a look through a log found: how far it is unbroken, and the first entry that is not, in a sentence."""

    anchor: Anchor
    entries: int
    broken: int | None = None
    sentence: str = ""


_encode = msgspec.json.Encoder(order="deterministic").encode


def canonical(entry: Entry) -> bytes:
    """The bytes that are stored and digested."""
    return _encode(entry)


def digest(stored: bytes) -> str:
    return sha256(stored).hexdigest()


def chained(entries: Sequence[Entry], after: Anchor) -> tuple[list[bytes], Anchor]:
    """The bytes of new entries that follow an anchor, and the anchor that they lead to."""
    stored = []
    for entry in entries:
        data = canonical(msgspec.structs.replace(entry, number=after.number + 1, previous=after.digest))
        stored.append(data)
        after = Anchor(after.number + 1, digest(data))
    return stored, after


def read(stored: str) -> Entry | None:
    """An entry; None if it cannot be read."""
    try:
        return msgspec.json.decode(stored, type=Entry)
    except msgspec.MsgspecError:
        return None


class Verifier:
    """Looks through a log page by page. `known` is an anchor that was kept outside of the store."""

    def __init__(self, known: Anchor | None = None) -> None:
        self._known = known
        self._seen = Anchor()
        self._finding: Finding | None = None

    def take(self, entries: Sequence[tuple[int, str]]) -> bool:
        """The next entries; whether all is unbroken so far."""
        for number, stored in entries:
            if self._finding is None:
                self._look(number, stored)
        return self._finding is None

    def _look(self, number: int, stored: str) -> None:
        seen, entry = self._seen, read(stored)
        expected = seen.number + 1
        if number != expected:
            self._break(expected, f"entry {expected} is missing" if number > expected else f"entry {number} is double")
        elif entry is None:
            self._break(expected, f"entry {expected} cannot be read")
        elif entry.number != number:
            self._break(expected, f"in the place of entry {expected} stands entry {entry.number}")
        elif entry.previous != seen.digest:
            changed = max(seen.number, 1)
            self._break(changed, f"entry {changed} is not what it was when entry {expected} followed it")
        else:
            self._seen = Anchor(number, digest(stored.encode()))
            known = self._known
            if known is not None and known.number == number and known.digest != self._seen.digest:
                self._break(number, f"entry {number} is not what it was when the anchor was kept")

    def end(self, head: Anchor) -> Finding:
        """What was found, once all entries were taken; `head` is the anchor that the store keeps apart."""
        seen, known = self._seen, self._known
        if self._finding is None:
            if seen.number < head.number:
                self._break(seen.number + 1, f"entries {seen.number + 1} to {head.number} are missing at the end")
            elif seen.number > head.number:
                self._break(head.number + 1, f"entry {head.number + 1} was added past the log")
            elif seen.digest != head.digest:
                self._break(seen.number, f"entry {seen.number}, the last, is not what it was when it was written")
            elif known is not None and known.number > seen.number:
                lost = f"entries {seen.number + 1} to {known.number}"
                self._break(seen.number + 1, f"{lost} are missing since the anchor was kept")
        return self._finding or Finding(anchor=seen, entries=seen.number)

    def _break(self, number: int, sentence: str) -> None:
        self._finding = Finding(anchor=self._seen, entries=number - 1, broken=number, sentence=sentence)


def anchor_of(text: str) -> Anchor | None:
    """The anchor that `str` has written; None if it is none."""
    number, colon, digest = text.partition(":")
    if not (colon and number.isdecimal() and len(digest) == (64 if int(number) else 0)):
        return None
    return Anchor(int(number), digest)
