"""The scripts that the server runs: each is a file beside this one, put together with the snippets that it names."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from perdure.stores.contract import ANSWERS_MAX, MAILBOX_MESSAGES_MAX, SEEN_MAX

_USES = re.compile(r"^-- uses: (.+)$", re.MULTILINE)
_BOUNDS = {"MAILBOX_MESSAGES_MAX": MAILBOX_MESSAGES_MAX, "SEEN_MAX": SEEN_MAX, "ANSWERS_MAX": ANSWERS_MAX}

READING = frozenset(
    ("apps", "backlog", "calls", "census", "due", "ends", "find", "heads", "history", "layout", "lease", "load", "look")
) | {"export", "mail", "members", "offers", "outbox", "permits", "roll", "sizes", "stranded", "suspects", "values_get"}
"""Scripts that write nothing if they are only asked."""


@dataclass(frozen=True, slots=True)
class Script:
    """What the server is sent once, and the name under which it knows it from then on."""

    name: str
    source: bytes
    digest: bytes


@cache
def script(name: str) -> Script:
    """The script of this name, whole."""
    body = _text(name)
    parts = [_text("shard"), *(f"local {bound} = {value}\n" for bound, value in _BOUNDS.items())]
    for snippets in _USES.findall(body):
        parts += [_text(snippet) for snippet in snippets.split()]
    source = "\n".join([*parts, body, _text("serve")]).encode()
    return Script(name, source, hashlib.sha1(source, usedforsecurity=False).hexdigest().encode())


def _text(name: str) -> str:
    return (files(__package__) / f"{name}.lua").read_text(encoding="utf-8")
