"""An app that passes a word through every place where a value can be, and the codecs that hide it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

from perdure import (
    ActivityFailed,
    App,
    Codec,
    KeyRing,
    PersonalKeys,
    Retry,
    Secret,
    activity_context,
    continue_as_new,
    on_update,
    set_state,
    set_status,
    wait_for_event,
)
from perdure.clock import SystemClock

WORD = "Lovelace"
"""Stands in everything that is passed, and may stand in no file."""

KEY1, KEY2 = KeyRing.new_key(), KeyRing.new_key()


def codec_of(tmp_path: Path, **more) -> Codec:
    keys = PersonalKeys(KeyRing({"k1": KEY1}), tmp_path / "keys")
    return Codec(compress=True, keys=keys, offload=tmp_path / "blobs", offload_above=500, **more)


def files_with(directory: Path, *words: str) -> list[str]:
    """The files under a directory in whose bytes one of the words stands, in whatever Unicode encoding."""
    forms = [word.encode(encoding) for word in words for encoding in ("utf-8", "utf-16-le")]
    files = [path for path in directory.rglob("*") if path.is_file()]
    return [path.name for path in files if any(form in path.read_bytes() for form in forms)]


def everything(url: str, codec: Codec | None) -> App:
    """An app that passes the word through every place where a value can be."""
    app = App("packed", store=url, codec=codec)

    @app.activity(retry=Retry(max_attempts=2, initial_interval=0.05))
    async def work(name: str, *, secret: Secret[str]) -> list[str]:
        context = activity_context()
        if context.attempt == 1:
            context.heartbeat({"seen": name})
            await asyncio.sleep(0.3)  # so that a look finds the heartbeat
            raise ValueError(f"no {name} today")
        assert context.last_details() == {"seen": name}
        return [name, secret.reveal(), os.urandom(1_000).hex()]

    @app.activity(retry=Retry(max_attempts=1))
    def fail(name: str) -> None:
        raise KeyError(name)

    @app.workflow
    async def child(names: list[str]) -> dict:
        await wait_for_event("child may go")
        return {"names": names[:2]}

    @app.workflow
    async def main(name: str, generation: int = 1) -> dict:
        set_status({"for": name, "run": generation})
        set_state({"name": name})

        @on_update("rename")
        async def rename(other: str) -> str:
            return f"{other}, not {name}"

        if generation == 1:
            await wait_for_event("next")
            continue_as_new(name, 2, keep_events=True)
        done = await work(name, secret=Secret(name))
        try:
            await fail(name)
        except ActivityFailed as error:
            failed = str(error)
        told = await child.with_options(id="child")(done)
        return {"child": told, "failed": failed, "heard": await wait_for_event("early", dict), "count": len(done)}

    @app.workflow
    async def broken(name: str) -> None:
        raise RuntimeError(f"{name} was refused")

    return app


async def drive(app: App, person: str = "ada") -> dict:
    handle = await app.client.workflow("main").with_options(id="x", tags={"person": person}).start(WORD)
    assert await handle.update("rename", WORD) == f"{WORD}, not {WORD}"
    assert await handle.query() == {"name": WORD}
    await handle.raise_event("early", {"name": WORD})
    await handle.raise_event("next", WORD)
    child = app.client.get("child")
    async with asyncio.timeout(30):
        while True:
            try:
                await child.raise_event("child may go", WORD)
                break
            except LookupError:
                await asyncio.sleep(0.01)
    return await handle.result(30)


def is_right(result: dict) -> bool:
    assert result["child"] == {"names": [WORD, WORD]}
    assert WORD in result["failed"]
    assert result["heard"] == {"name": WORD}
    return result["count"] == 3


def vacuumed(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "app.db") as database:
        database.execute("pragma wal_checkpoint(truncate)")
        database.execute("vacuum")
    database.close()


def greeter(url: str, codec: Codec | None, gate: list[str] | None = None) -> App:
    app = App("packed", store=url, codec=codec)

    @app.activity(retry=Retry(max_attempts=1))
    async def fetch(name: str) -> str:
        if gate is not None:
            gate.append(name)
            await asyncio.sleep(60)
        return name * 100

    @app.workflow
    async def greet(name: str) -> str:
        told = await wait_for_event("go", str)
        return f"{told} {(await fetch(name))[:8]}"

    return app


class Earlier(SystemClock):
    """A clock of some days ago."""

    def __init__(self, days: int) -> None:
        super().__init__()
        self._days = days

    def now(self) -> int:
        return super().now() - self._days * 86_400_000_000
