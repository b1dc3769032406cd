"""Python's debugger on workflow code: it stops on lines of the user's own, while one event is delivered."""

from __future__ import annotations

import os
import pdb
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Any

from perdure.sdk.run import is_of_user

_PACKAGE = str(Path(__file__).resolve().parent.parent) + os.sep
_LIBRARIES = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")})


class Stepper(pdb.Pdb):
    """`pdb` that leaves out libraries, and what lies between the user's frames.

    `file` is one of the user's own: what is beside it counts even if it is installed. `stdin` and `stdout` are a
    terminal's unless given.
    To quit it is to go on without stopping, because an error thrown into the code would change what it does.
    """

    def __init__(self, file: str, stdin: IO[str] | None = None, stdout: IO[str] | None = None) -> None:
        self._home = str(Path(file).parent) + os.sep
        super().__init__(stdin=stdin, stdout=stdout, nosigint=True, readrc=False)
        self.use_rawinput = stdin is None  # because pdb reads a given stream only if it is to write to one too

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Stop at the first line that the code comes to, as long as the block lasts."""
        self.reset()
        self.set_step()
        outer = sys.gettrace()
        sys.settrace(self.trace_dispatch)
        try:
            yield
        finally:
            sys.settrace(outer)

    def stop_here(self, frame: FrameType) -> bool:
        return self._is_own(frame) and super().stop_here(frame)

    def _is_own(self, frame: FrameType) -> bool:
        path = frame.f_code.co_filename
        if path.startswith(_PACKAGE) or not is_of_user(frame.f_code):
            return False
        is_installed = self._home.startswith(_LIBRARIES) and path.startswith(self._home)
        return is_installed or not path.startswith(("<frozen", "<string>", *_LIBRARIES))

    def user_call(self, frame: FrameType, argument_list: Any) -> None:
        """Do not stop, because a coroutine that goes on looks as if it were called."""

    def set_quit(self) -> None:
        self.set_continue()
