"""The program that every node runs: an app that uses what an engine offers, and whose effects are in a ledger.

python -m tests.chaos.program URL LEDGER NODE
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from perdure import App, Retry, activity_context, wait_for_event
from perdure.app import open_store
from tests.chaos.ledger import Ledger
from tests.chaos.mutants import MUTANTS

SLOTS = int(os.environ.get("CHAOS_SLOTS", "8"))
"""Few, so that calls of a fan are offered to other nodes."""
IS_SYNCED = "CHAOS_UNSYNCED" not in os.environ
"""Whether each entry of the ledger waits for the disk: a kill loses none either way, and no figure is to measure it."""
STALL_SECONDS = 0.5
"""A pause of the whole process is told in the ledger from here on."""
SLOW_SECONDS = 1.0
"""An answer of the store that takes longer is told in the ledger."""
RETRY = Retry(max_attempts=5, initial_interval=0.1, backoff=1.0)

app = App("chaos", slots=SLOTS, drain_seconds=3.0, quarantine_deaths=None)
ledgers: list[Ledger] = []
"""The node's own, once there is one."""


@app.activity
async def step(value: int, seconds: float) -> int:
    """The square of a value, after some time."""
    with _Attempt():
        await asyncio.sleep(seconds)
        return value * value


@app.activity
def block(value: int, seconds: float) -> int:
    """Likewise, on a thread."""
    with _Attempt():
        time.sleep(seconds)
        return value * value


@app.activity(retry=RETRY)
async def stumble(value: int, failures: int) -> int:
    """Fails so often before it gives the number of the attempt that did not."""
    with _Attempt() as attempt:
        if attempt <= failures:
            raise RuntimeError(f"attempt {attempt} of {failures + 1}")
        return value * attempt


@app.activity
async def hang() -> None:
    """Does not end by itself."""
    with _Attempt():
        await asyncio.sleep(3_600)


class _Attempt:
    """One attempt in the ledger: begun before the block, and ended behind it, also if it fails."""

    def __enter__(self) -> int:
        info = activity_context()
        self._key, self._attempt = info.idempotency_key, info.attempt
        ledgers[0].begin(self._key, self._attempt)
        return self._attempt

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, RuntimeError):
            ledgers[0].end(self._key, self._attempt)


@app.workflow
async def chain(seed: int) -> int:
    """Steps one after the other."""
    total = 0
    for number in range(4):
        total += await step(seed + number, 0.05)
    return total + await block(seed, 0.05)


@app.workflow
async def fan(seed: int) -> int:
    """Many steps at once, more than a node has slots."""
    return sum(await asyncio.gather(*(step(seed + number, 0.1) for number in range(12))))


@app.workflow
async def family(seed: int) -> int:
    """Children at once, and a timer between."""
    first = await asyncio.gather(*(chain(seed + number) for number in range(3)))
    await asyncio.sleep(0.3)
    return sum(first) + await nap(seed)


@app.workflow
async def nap(seed: int) -> int:
    """Timers between steps."""
    total = 0
    for number in range(3):
        await asyncio.sleep(0.2 + (seed % 5) / 10)
        total += await step(seed + number, 0.02)
    return total


@app.workflow
async def listen(seed: int) -> int:
    """Two events from outside, each followed by a step."""
    total = 0
    for name in EVENTS:
        total += await step(await wait_for_event(name, int), 0.05)
    return total + seed


@app.workflow
async def persist(seed: int) -> int:
    """A call that fails and is made again."""
    return await stumble(seed, seed % 4) + await stumble(seed, 0)


@app.workflow
async def hold() -> None:
    """A call that runs until its node dies, and then again."""
    await hang()


@app.workflow
async def spread(count: int, seconds: float) -> int:
    """So many steps at once."""
    return sum(await asyncio.gather(*(step(number, seconds) for number in range(count))))


EVENTS = ("first", "second")
KINDS = (chain, fan, family, nap, listen, persist)


def event_of(seed: int, name: str) -> int:
    """What an instance of `listen` is told."""
    return seed + EVENTS.index(name)


def expected(kind: str, seed: int) -> int:
    """What a workflow must return."""
    squares = [(seed + number) ** 2 for number in range(12)]
    match kind:
        case "chain":
            return sum(squares[:4]) + squares[0]
        case "fan":
            return sum(squares)
        case "family":
            return sum(expected("chain", seed + number) for number in range(3)) + expected("nap", seed)
        case "nap":
            return sum(squares[:3])
        case "listen":
            return sum(event_of(seed, name) ** 2 for name in EVENTS) + seed
        case _:
            return seed * (seed % 4 + 1) + seed


def instances_of(kind: str) -> int:
    """How many instances come of one, with its children."""
    return 5 if kind == "family" else 1


async def serve(url: str) -> None:
    """Be a node until SIGTERM, then leave in good order."""
    leave = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave.set)
    await app.open(store=Timed(open_store(url), SLOW_SECONDS))  # type: ignore[arg-type]
    print("open", flush=True)
    await leave.wait()
    await app.close()
    print("closed", flush=True)


class Timed:
    """A store that tells the ledger when it takes longer to answer than `seconds`."""

    def __init__(self, store: Any, seconds: float) -> None:
        self._store = store
        self._seconds = seconds

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name == "heart":
            return lambda: Timed(found(), self._seconds)
        if not inspect.iscoroutinefunction(found):
            return found

        async def timed(*args: Any, **kwargs: Any) -> Any:
            begin = time.monotonic()
            try:
                return await found(*args, **kwargs)
            finally:
                took = time.monotonic() - begin
                if took > self._seconds:
                    ledgers[0].slow(name, took)

        return timed


def watch_for_stalls(ledger: Ledger) -> None:
    """Tell the ledger when the process was not run for a while, on a thread of its own."""
    last = time.monotonic()
    while True:
        time.sleep(STALL_SECONDS / 5)
        now = time.monotonic()
        if now - last > STALL_SECONDS:
            ledger.stall(now - last)
        last = now


def main(arguments: list[str]) -> None:
    url, path, node = arguments
    logging.basicConfig(level=logging.INFO, format="%(asctime)s.%(msecs)03d %(message)s", datefmt="%H:%M:%S")
    if mutant := os.environ.get("CHAOS_MUTANT"):
        MUTANTS[mutant]()
    ledgers.append(Ledger(Path(path), node, is_synced=IS_SYNCED))
    threading.Thread(target=watch_for_stalls, args=(ledgers[0],), daemon=True).start()
    asyncio.run(serve(url))


if __name__ == "__main__":
    main(sys.argv[1:])
