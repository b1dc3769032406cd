"""Cancelling tasks for good; and whose an exception is: of the task that runs some code, or of the code itself."""

from __future__ import annotations

import asyncio
from typing import Any

AGAIN_SECONDS = 2.0
"""After which a task that was cancelled and goes on is cancelled once more."""


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


async def cancel_and_wait(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and return when all of them have ended, however they did.

    They are cancelled again and again, because one cancellation may get lost: `asyncio.wait_for`, which drivers call,
    drops it before Python 3.12 when the result comes in the same moment (python/cpython#86296), and a loop that lives
    on errors would go on for ever.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_SECONDS)
