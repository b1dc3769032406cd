"""Payloads as text to read: indented JSON, bounded."""

from __future__ import annotations

import msgspec

from perdure.codec import Payload, is_packed, readable

CHARACTERS_MAX = 20_000
"""Characters of one value that a page shows; the rest can be had from the command line."""
LINE_CHARACTERS_MAX = 80
"""A value that fits into so many characters stands on one line."""


class Shown(msgspec.Struct, frozen=True):
    """A value to read. `note` says what is to know of it: that it is cut, or cannot be read here."""

    text: str
    note: str = ""
    encoding: str = "json"

    @property
    def is_short(self) -> bool:
        return len(self.text) <= LINE_CHARACTERS_MAX and "\n" not in self.text


def shown(payload: Payload | None) -> Shown | None:
    """A payload to read; None if there is none."""
    if payload is None:
        return None
    if is_packed(payload):
        return Shown(str(readable(payload)), "packed by a codec that this dashboard does not have", payload.encoding)
    raw = bytes(payload.data)
    try:
        text = msgspec.json.format(raw, indent=-1).decode("utf-8", "replace")
        if len(text) > LINE_CHARACTERS_MAX and len(raw) <= 4 * CHARACTERS_MAX:
            text = msgspec.json.format(raw, indent=2).decode("utf-8", "replace")
    except (msgspec.MsgspecError, RecursionError):
        text = raw.decode("utf-8", "replace")  # because damaged data is to be seen as it is
    return Shown(*cut(text), payload.encoding)


def cut(text: str, characters: int = CHARACTERS_MAX) -> tuple[str, str]:
    """At most so many characters, and a note if there are more."""
    if len(text) <= characters:
        return text, ""
    return text[:characters], f"the first {characters:,} of {len(text):,} characters"


def brief(payload: Payload | None, characters: int = 60) -> str:
    """A value on one line, cut."""
    if payload is None:
        return ""
    if is_packed(payload):
        return str(readable(payload))
    text = bytes(payload.data)[: characters * 4 + 4].decode("utf-8", "replace")
    text = " ".join(text.split())
    return text if len(text) <= characters else text[: characters - 1] + "…"
