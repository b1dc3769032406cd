"""Answers of Perdure's own workers that a server does not take."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from perdure import ActivityFailed, App
from tests.remote.native.serving import served

SECONDS = 20.0
BYTES_MAX = 20_000


def test_an_answer_larger_than_the_server_takes_fails_its_call_or_halts_its_run(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = f"sqlite:///{tmp_path}/app.db"
        async with asyncio.timeout(SECONDS), served(store, message_bytes_max=BYTES_MAX) as there:
            app = App("shop", server=there.url)

            @app.activity
            async def large(size: int) -> str:
                return "x" * size

            @app.workflow
            async def calls(size: int) -> str:
                with pytest.raises(ActivityFailed, match="larger than max"):
                    await large(size)
                return "told"

            @app.workflow
            async def asks(count: int) -> None:
                await asyncio.gather(*(large("x" * 1_000) for _ in range(count)))  # type: ignore[arg-type]

            async with app:
                assert await (await calls.start(2 * BYTES_MAX)).result() == "told"
                handle = await asks.start(2 * BYTES_MAX // 1_000)
                while (stalled := (await handle.state()).stalled) is None:
                    await asyncio.sleep(0.01)
                assert "larger than max" in stalled.description

    asyncio.run(scenario())
