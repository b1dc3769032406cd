"""Which run or attempt a log line comes from, and which lines are repeated by a replay."""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal, TextIO

from perdure.errors import InvalidArgument
from perdure.sdk.context import ATTEMPT
from perdure.sdk.run import current_run
from perdure.telemetry.logs import JsonLines, TextLines

Format = Literal["console", "json"]
FORMATS: dict[str, type[logging.Formatter]] = {"console": TextLines, "json": JsonLines}
OF_USERS = ("perdure.workflow", "perdure.activity")
"""Loggers under which `workflow_context().logger` and `activity_context().logger` write."""


class LogContext(logging.Filter):
    """For a handler: each record of workflow or activity code gets `app`, `instance`, `run`, `workflow` or `activity`,
    and `attempt`, whichever logger it was given to; one that a replay repeats is dropped."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be written."""
        run = current_run()
        if run is None:
            attempt = ATTEMPT.get(None)
            if attempt is not None:
                _tell(record, attempt.log_fields)
            return True
        if run.replaying or run.sealed:
            return False
        identity = run.identity
        _tell(
            record,
            {
                "app": identity.app,
                "instance": identity.instance,
                "run": identity.generation,
                "workflow": identity.name,
            },
        )
        return True


def setup_logging(
    format: Format = "console",
    *,
    level: int | str = logging.INFO,
    engine_level: int | str = logging.WARNING,
    stream: TextIO | None = None,
) -> logging.Handler:
    """Let the root logger write lines of JSON, or of text, to `stream` (standard error), in place of what it did.

    `level` is for your own lines, also those of `workflow_context().logger`; `engine_level` for those of Perdure.
    """
    if format not in FORMATS:
        raise InvalidArgument(f"format is {format!r}; give one of {', '.join(FORMATS)}")
    handler = log_handler(format, stream)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    set_levels(level, engine_level)
    return handler


def log_handler(format: Format = "console", stream: TextIO | None = None) -> logging.Handler:
    """A handler that writes such lines, for programs that set up logging themselves."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(FORMATS[format]())
    handler.addFilter(LogContext())
    return handler


def set_levels(level: int | str, engine_level: int | str) -> None:
    """What the engine says has a level of its own, because users' lines come from loggers below its own."""
    logging.getLogger("perdure").setLevel(engine_level)
    for name in OF_USERS:
        logging.getLogger(name).setLevel(level)


def _tell(record: logging.LogRecord, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        if not hasattr(record, name):
            setattr(record, name, value)
