"""Instances as they change: a view that is drawn over on a terminal, a line per change elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from perdure.cli import documents, screen
from perdure.history.state import Explanation
from perdure.sdk.handle import Handle
from perdure.sdk.snapshot import State
from perdure.stores.contract import FINISHED

FOLLOW_SECONDS = 0.2
"""How often an instance that is followed is looked at."""
BAR_COLUMNS = 40
_SPINNER = Spinner("dots")
Draw = Callable[[RenderableType], None]


async def follow(handle: Handle[Any], *, as_json: bool, timeout: float | None) -> State:
    """The finished instance, as soon as it is; until then its progress on standard error.

    Raises TimeoutError after `timeout` seconds, which the instance does not notice.
    """
    async with asyncio.timeout(timeout):
        if as_json or not screen.console(stderr=True).is_terminal:
            return await _follow_in_lines(handle, quiet=as_json)
        async with _view(screen.console(stderr=True), transient=True) as draw:
            while True:
                state = await handle.state()
                if state.status in FINISHED:
                    return state
                draw(progress(state, await handle.explain(), datetime.now(UTC)))
                await asyncio.sleep(FOLLOW_SECONDS)


async def watch_instance(handle: Handle[Any], *, as_json: bool) -> State:
    """Show an instance whenever it has changed, until it is finished; the finished one."""
    shown: State | None = None
    async with _view(screen.console()) as draw:
        while True:
            state = await handle.state()
            ended = state.status in FINISHED
            if as_json:
                if state != shown:
                    documents.write(documents.instance(state))
            else:
                told = None if ended else await handle.explain()
                draw(screen.instance(state, told, datetime.now(UTC)))
            if ended:
                return state
            shown = state
            await asyncio.sleep(FOLLOW_SECONDS)


async def watch_list(find: Callable[[], Awaitable[list[State]]], *, as_json: bool, interval: float) -> None:
    """Show what `find` gives, again and again, until the user has seen enough (Ctrl-C)."""
    console = screen.console()
    known: dict[str, State] = {}
    try:
        async with _view(console) as draw:
            while True:
                states = await find()
                now = datetime.now(UTC)
                if console.is_terminal and not as_json:
                    draw(
                        Group(
                            screen.instances(states, now),
                            Text(f"{len(states)} instances, {screen.clock(now)}"),
                        )
                    )
                else:
                    _tell_changes(states, known, as_json=as_json)
                known = {state.id: state for state in states}
                await asyncio.sleep(interval)
    except asyncio.CancelledError:
        return  # because Ctrl-C is how a watch ends well


def progress(state: State, told: Explanation, now: datetime) -> RenderableType:
    """What is known of a running instance: how long, how far, and what it waits for.

    A custom status that holds the numbers `done` and `total` becomes a bar.
    """
    line = Table.grid(padding=(0, 1))
    name = Text(screen.clean(f"{state.name} {state.id}"), style="bold")
    line.add_row(_SPINNER, name, screen.status(state), screen.span(now - state.created))
    parts: list[RenderableType] = [line]
    share = _share(state.custom_status)
    if share is not None:
        bar = Table.grid(padding=(0, 1))
        bar.add_row("  ", ProgressBar(share[1], share[0], width=BAR_COLUMNS), f"{share[0]:g} of {share[1]:g}")
        parts.append(bar)
    elif state.custom_status is not None:
        parts.append(Text("  ").append(screen.value(state.custom_status, screen.CELL_CHARACTERS_MAX * 2)))
    parts.append(Text(f"  {screen.clean(told.sentence)}", style="dim"))
    return Group(*parts)


async def _follow_in_lines(handle: Handle[Any], *, quiet: bool) -> State:
    shown = ""
    while True:
        state = await handle.state()
        if state.status in FINISHED:
            return state
        line = _line(state)
        if line != shown and not quiet:
            screen.say(line)
        shown = line
        await asyncio.sleep(FOLLOW_SECONDS)


def _tell_changes(states: list[State], known: dict[str, State], *, as_json: bool) -> None:
    for state in reversed(states):
        if state == known.get(state.id):
            continue
        if as_json:
            documents.write(documents.summary(state))
        else:
            print(f"{screen.clock(state.updated)}  {_line(state)}", flush=True)


def _line(state: State) -> str:
    custom = "" if state.custom_status is None else f"  {screen.value(state.custom_status, screen.CELL_CHARACTERS_MAX)}"
    return f"{screen.clean(state.id)}  {screen.clean(state.name)}  {screen.status(state)}{custom}"


def _share(custom_status: Any) -> tuple[float, float] | None:
    if not isinstance(custom_status, dict):
        return None
    done, total = custom_status.get("done"), custom_status.get("total")
    if not all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in (done, total)):
        return None
    assert done is not None
    assert total is not None
    return (done, total) if 0 <= done <= total and total > 0 else None


@asynccontextmanager
async def _view(console: Console, *, transient: bool = False) -> AsyncIterator[Draw]:
    """A place on the screen that is drawn over; off a terminal, only the last drawing is printed."""
    with Live(console=console, transient=transient, refresh_per_second=8, vertical_overflow="visible") as live:
        yield live.update
