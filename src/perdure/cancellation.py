"""Whose an exception is: of the task that runs some code, or of the code, which has failed by it."""

from __future__ import annotations

import asyncio
from typing import Any


def is_for_task(error: BaseException, task: asyncio.Task[Any]) -> bool:
    """Whether what code raised in the task is meant for the task itself, and so has to be raised further.

    That is what ends the process; GeneratorExit, if the task's coroutine is put away; and CancelledError, if the task
    was cancelled. All else is the code's own failure, also the cancellation of something that the code awaited, and a
    GeneratorExit that it raised by itself.
    """
    match error:
        case KeyboardInterrupt() | SystemExit():
            return True
        case GeneratorExit():
            return asyncio.current_task(task.get_loop()) is not task  # because what is put away does not run
        case asyncio.CancelledError():
            return task.cancelling() > 0
    return False
