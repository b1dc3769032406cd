"""A page that asks whether an action is meant, with the fields that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field. `kind` is text, json, choice or check; `options` are those of a choice, as value and label."""

    name: str
    label: str
    kind: str = "text"
    hint: str = ""
    value: str = ""
    is_required: bool = False
    options: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What is asked: `verb` is on the button, `warns` says what it does, `about` what it is done to."""

    verb: str
    warns: str
    about: str
    back: str
    action: str
    fields: Sequence[Field] = field(default_factory=tuple)
    is_grave: bool = False


def reason() -> Field:
    """Why, for others to read."""
    return Field(name="reason", label="Reason", hint="optional; others see it")
