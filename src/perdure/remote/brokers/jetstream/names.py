"""The names that a topic and a group have on NATS, which takes fewer characters than others do."""

from __future__ import annotations

import hashlib
import re

from perdure.errors import InvalidArgument

PARTS_KEY = "perdure_parts"
"""What a stream's metadata call the number of parts."""
_SUBJECT = re.compile(r"[^\s.*>]+(\.[^\s.*>]+)*")
_UNFIT = re.compile(r"[^A-Za-z0-9_-]")


def subject(topic: str, parts: int, part: int) -> str:
    """A topic of one part is a subject of its own name, as Dapr's component has it. Raises InvalidArgument."""
    if not _SUBJECT.fullmatch(topic):
        raise InvalidArgument(f"topic {topic[:80]!r} is no subject of NATS; leave out blanks, * and >")
    return topic if parts == 1 else f"{topic}.{part}"


def stream(topic: str) -> str:
    """The stream that is made for a topic which is in none."""
    return f"perdure-{_fit(topic)}"


def consumer(group: str, topic: str, parts: int, part: int) -> str:
    """The durable consumer of a group."""
    return f"{_fit(group)}-{_digest(topic)}" + ("" if parts == 1 else f"-{part}")


def place(topic: str, group: str) -> str:
    """How the keys of a group's readers begin."""
    return _digest(f"{topic}\0{group}")


def message(source: str, id: str, topic: str) -> str:
    """By which a stream knows a message that was published; topics may share a stream."""
    return _digest(f"{topic}\0{source}\0{id}", 32)


def _fit(name: str) -> str:
    found = _UNFIT.sub("_", name)
    return found if found == name else f"{found}-{_digest(name)}"


def _digest(text: str, digits: int = 12) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
