"""An instance in memory: what comes for an id while a start of the same id is being refused is not lost."""

import asyncio
from pathlib import Path
from typing import Any

from perdure import App

IDS = [f"nap-{number}" for number in range(5)]
NAP_SECONDS = 0.2


def napping(store: str) -> tuple[App, Any]:
    app = App("naps", store=store)

    @app.workflow
    async def nap() -> str:
        await asyncio.sleep(NAP_SECONDS)
        return "rested"

    return app, nap


def test_a_timer_due_during_a_refused_start_fires(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'naps.db'}"

    async def scenario() -> list[str]:
        app, nap = napping(store)
        async with app:
            for id in IDS:
                await nap.with_options(id=id).start()
        await asyncio.sleep(NAP_SECONDS)
        app, nap = napping(store)
        async with app:
            again = [nap.with_options(id=id, if_exists="return").start() for id in IDS]
            return [await handle.result(10) for handle in await asyncio.gather(*again)]

    assert asyncio.run(scenario()) == ["rested"] * len(IDS)
