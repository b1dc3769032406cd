"""Where the code of a run stands: its tasks, the user's frames in each, and what their variables hold."""

from __future__ import annotations

import linecache
import reprlib
from collections.abc import Iterator
from types import FrameType
from typing import Any

import msgspec

from perdure.sdk.generator import drive
from perdure.sdk.run import Run, awaited_frames, is_of_user

VALUE_CHARACTERS_MAX = 400
"""Characters of a variable's value that are shown."""
LOCALS_MAX = 100
"""Variables of a frame that are shown."""


class Frame(msgspec.Struct, frozen=True):
    """A call that has not returned. `source` is its line as the file has it now; `locals` are values as text."""

    file: str
    line: int
    function: str
    source: str
    locals: dict[str, str]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


class LiveTask(msgspec.Struct, frozen=True):
    """A task of a run that is not done: its name, and its frames in user code, outermost first."""

    name: str
    frames: list[Frame]

    def __str__(self) -> str:
        where = str(self.frames[-1]) if self.frames else "in no code of yours"
        return f"{self.name}: {where}"


def live_tasks(run: Run) -> list[LiveTask]:
    """The tasks of a run's code, in the order in which they began."""
    return [LiveTask(task.get_name(), [_frame(frame) for frame in _user_frames(task.get_coro())]) for task in run.tasks]


def _user_frames(coroutine: Any) -> Iterator[FrameType]:
    for frame in awaited_frames(coroutine):
        if is_of_user(frame.f_code):
            yield frame
        elif frame.f_code is drive.__code__:  # because it awaits on behalf of a generator, which awaits nothing itself
            yield from awaited_frames(frame.f_locals.get("generator"))


def _frame(frame: FrameType) -> Frame:
    code = frame.f_code
    shown = [(name, _shown(value)) for name, value in list(frame.f_locals.items())[:LOCALS_MAX]]
    source = linecache.getline(code.co_filename, frame.f_lineno, frame.f_globals).strip()
    return Frame(code.co_filename, frame.f_lineno, code.co_name, source, dict(shown))


def _shown(value: Any) -> str:
    text = _values.repr(value)
    return text if len(text) <= VALUE_CHARACTERS_MAX else text[: VALUE_CHARACTERS_MAX - 1] + "…"


_values = reprlib.Repr()
_values.maxdict = _values.maxlist = _values.maxtuple = _values.maxset = 20
_values.maxstring = _values.maxother = _values.maxlong = VALUE_CHARACTERS_MAX
