"""What this process logs, and what several programs print: line by line on one terminal, under its program's name."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, BinaryIO

import typer

from perdure.sdk.logs import log_handler, set_levels
from perdure.telemetry.logs import TextLines


class LogFormat(StrEnum):
    """How a line of the log is written."""

    CONSOLE = "console"
    JSON = "json"


READ_BYTES = 65_536
LINE_BYTES_MAX = 65_536
"""A line is passed on in parts of this length; its next part begins a line of its own."""
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
"""Of ANSI, one for each name in turn; the first is the server's."""


LogFormatOption = Annotated[
    LogFormat | None, typer.Option("--log-format", help="One JSON object a line, or text; on standard error.")
]


def log_to(
    log_format: LogFormat | None,
    *,
    verbose: bool,
    level: int = logging.WARNING,
    handler: logging.Handler | None = None,
) -> None:
    """Log what this process has to say. A program that has set up logging itself knows better, unless a format is
    asked for. `level` is for all that is not Perdure's."""
    handler = handler or log_handler(log_format.value if log_format is not None else "console")
    logging.basicConfig(level=level, handlers=[handler], force=log_format is not None)
    set_levels(logging.INFO, logging.INFO if verbose else logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # because the command itself says when it serves


class Logs:
    """Passes on what is printed under `names`. Colours only where `out` is a terminal, and NO_COLOR is not set."""

    def __init__(self, names: Sequence[str], out: BinaryIO | None = None, err: BinaryIO | None = None) -> None:
        self._out = out or sys.stdout.buffer
        self._err = err or sys.stderr.buffer
        self._lock = threading.Lock()
        width = max(map(len, names))
        coloured = self._out.isatty() and not os.environ.get("NO_COLOR")
        self._prefixes = {
            name: _prefix(name.ljust(width), _COLOURS[place % len(_COLOURS)] if coloured else None)
            for place, name in enumerate(names)
        }

    def line(self, name: str, text: str) -> None:
        """Print one line."""
        self._write(self._out, name, text.encode("utf-8", "backslashreplace"))

    def handler(self, name: str) -> logging.Handler:
        """For what is logged in this process, on standard error."""
        return _Handler(self, name)

    def pass_on(self, name: str, source: int, *, is_error: bool) -> threading.Thread:
        """Print what comes out of a pipe until its other end is closed, then close it; the thread that does.

        A thread, because a terminal that stands still must not hold up the event loop.
        """
        target = self._err if is_error else self._out
        thread = threading.Thread(target=self._pump, args=(name, source, target), name="perdure-logs", daemon=True)
        thread.start()
        return thread

    def _pump(self, name: str, source: int, target: BinaryIO) -> None:
        begun = b""
        try:
            while read := os.read(source, READ_BYTES):
                *lines, begun = (begun + read).split(b"\n")
                for line in lines:
                    self._write(target, name, line)
                while len(begun) >= LINE_BYTES_MAX:
                    self._write(target, name, begun[:LINE_BYTES_MAX])
                    begun = begun[LINE_BYTES_MAX:]
            if begun:
                self._write(target, name, begun)
        finally:
            os.close(source)

    def _write(self, target: BinaryIO, name: str, line: bytes) -> None:
        with self._lock:
            try:
                target.write(self._prefixes[name] + line.removesuffix(b"\r") + b"\n")
                target.flush()
            except (BrokenPipeError, ValueError):
                # because a program must not stand still for a reader of its output that has gone away
                return

    def error_line(self, name: str, text: str) -> None:
        """Print one line on standard error."""
        self._write(self._err, name, text.encode("utf-8", "backslashreplace"))


class _Handler(logging.Handler):
    def __init__(self, logs: Logs, name: str) -> None:
        super().__init__()
        self._logs = logs
        self._source = name
        self.setFormatter(TextLines())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            for line in self.format(record).splitlines():
                self._logs.error_line(self._source, line)
        except Exception:  # noqa: BLE001 because that is how handlers tell of a record that cannot be formatted
            self.handleError(record)


def _prefix(name: str, colour: int | None) -> bytes:
    shown = f"{name} | " if colour is None else f"\x1b[{colour}m{name} |\x1b[0m "
    return shown.encode()
