"""How a log record becomes a line: JSON for programs, or text for people, with what is known beside its message."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from typing import Any

import msgspec

LINE_FIELDS = ("app", "instance", "run", "workflow", "activity", "attempt")
"""What a line of workflow or activity code tells of where it comes from, in this order."""

_STANDARD = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"))
"""Attributes that every record has, and the message again with colours, which uvicorn's have."""
_STORED_SECRET = re.compile(
    r"""\{\s*\\*["']perdure:secret\\*["']\s*:\s*(?:\\*"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^{}]*)\s*\}"""
)
"""The form in which a secret is stored, as JSON, JSON within JSON, or the text of a dict."""
_MASK = "***"


class JsonLines(logging.Formatter):
    """One JSON object a line: `at`, `level`, `logger`, `message`, then what is known of it, then `error`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **known(record),
        }
        if record.exc_info and record.exc_info[0] is not None:
            error, raised, _ = record.exc_info
            line["error"] = {
                "type": error.__qualname__,
                "message": str(raised),
                "stack": self.formatException(record.exc_info),
            }
        if record.stack_info:
            line["stack"] = record.stack_info
        return masked(_encoded(line))


class TextLines(logging.Formatter):
    """Time, level, logger and message, then what is known of it as `name=value`; an error's stack on lines below."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 because logging calls it so
        told = "".join(f" {name}={value}" for name, value in known(record).items())
        return masked(super().formatMessage(record) + told)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return masked(super().formatException(ei))


def known(record: logging.LogRecord) -> dict[str, Any]:
    """What a record tells beside its message: where it comes from, then what else it was given as `extra`."""
    given = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    told = {name: given.pop(name) for name in LINE_FIELDS if given.get(name) is not None}
    return {**told, **{name: value for name, value in given.items() if name not in LINE_FIELDS}}


def masked(text: str) -> str:
    """The text without the values of secrets in their stored form. Others mask themselves when they are written."""
    return _STORED_SECRET.sub(_MASK, text) if "perdure:secret" in text else text


def _encoded(line: dict[str, Any]) -> str:
    try:
        return msgspec.json.encode(line, enc_hook=str).decode()
    except Exception:  # noqa: BLE001 because a line with a value that cannot be written is still worth a line
        return msgspec.json.encode({name: _plain(value) for name, value in line.items()}).decode()


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
