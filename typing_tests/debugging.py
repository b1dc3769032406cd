"""What checkers say of debuggers."""

from typing import Any, assert_type

from perdure import App, Debugger, Handle
from perdure.history.actions import CompleteRun, ContinueRun
from perdure.sdk.frames import Frame

app = App("shop")


async def look(handle: Handle[int]) -> None:
    assert_type(await handle.debug(), Debugger)
    with await handle.debug(app, at=3) as debug:
        assert_type(debug, Debugger)
        assert_type(debug.goto(1).forward().back().answer(1, 2).raise_event("go"), Debugger)
        assert_type(debug.where(), list[Frame])
        assert_type(debug.locals(), dict[str, str])
        assert_type(debug.end, CompleteRun | ContinueRun | None)
        assert_type(debug.output, Any)
    await handle.debug("shop:app")  # type: ignore[arg-type]
