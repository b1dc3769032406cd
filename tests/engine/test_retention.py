"""Finished instances go once they are old enough, in bounded batches, and nothing else does."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import App, InstanceNotFound, WorkflowFailed
from perdure.engine import retention
from perdure.engine.settings import checked_retention
from perdure.errors import InvalidArgument
from perdure.stores.contract import Status


@pytest.mark.parametrize(
    "given, told",
    [
        ({"running": 1.0}, "running"),
        ({"completed": -1}, "seconds"),
        ({"failed": "a week"}, "a week"),
        ({"failed": True}, "True"),
        ({"failed": float("nan")}, "nan"),
        (0.1, "for each final status"),
    ],
)
def test_an_age_that_means_nothing_is_refused(given: Any, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        App("shop", store="memory:", retention=given)


def test_ages_are_seconds_or_timedeltas() -> None:
    ages = checked_retention({"completed": 2, "failed": timedelta(days=1)}).ages
    assert ages == {Status.COMPLETED: 2_000_000, Status.FAILED: 86_400_000_000}


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_what_is_old_goes_by_its_status_batch_by_batch(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "RETENTION_BATCH", 3)
    monkeypatch.setattr(retention, "RETENTION_SECONDS", 0.05)
    url = "memory:" if kind == "memory" else f"sqlite:///{tmp_path}/shop.db"
    app = App("shop", store=url, retention={"completed": 0.2, "failed": timedelta(days=1)})

    @app.workflow
    async def work(how: str) -> str:
        if how == "fails":
            raise ValueError("as asked")
        if how == "waits":
            await asyncio.sleep(3_600)
        return how

    async def scenario() -> Counter[str]:
        async with app:
            begun = time.monotonic()
            handles = [await work.start(how) for how in ["ends"] * 10 + ["fails", "waits"]]
            for handle in handles[:-1]:
                with suppress(WorkflowFailed, InstanceNotFound):  # which may be gone by then
                    await handle.result(30)
            found = [state.status async for state in app.client.list()]
            assert len(found) == 12 or time.monotonic() - begun > 0.2, "nothing goes before its time"
            async with asyncio.timeout(30):
                while len(found := [state.status async for state in app.client.list()]) > 2:
                    await asyncio.sleep(0.02)
            return Counter(found)

    assert asyncio.run(scenario()) == {"failed": 1, "running": 1}
