"""The lines by which a process that runs on tells its state, one for each change."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from perdure.cli import screen


class States:
    """Tells of one app, or of several under one name; as JSON for programs. `write` takes a line."""

    def __init__(self, app: str, *, as_json: bool = False, write: Callable[[str], None] | None = None) -> None:
        self._app = app
        self._as_json = as_json
        self._write = write or _print
        self._state = ""

    def change(self, state: str, text: str, **facts: Any) -> None:
        """Tell a state unless it is the one that was told last."""
        if state != self._state:
            self.tell(state, text, **facts)

    def tell(self, state: str, text: str, **facts: Any) -> None:
        """Tell a state. `facts` are for programs alone."""
        self._state = state
        now = datetime.now(UTC)
        if self._as_json:
            document = {"at": now.isoformat(), "app": self._app, "pid": os.getpid(), "state": state, "text": text}
            self._write(json.dumps({**document, **facts}))
        else:
            self._write(screen.clean(f"{screen.clock(now)} {self._app} ({os.getpid()}) {state}: {text}"))


def _print(line: str) -> None:
    print(line, flush=True)
