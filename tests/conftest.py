"""What all tests share: a store in the test's own directory, and a bounded way to run a scenario."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

SCENARIO_SECONDS = 50.0
Run = Callable[[Callable[[], Awaitable[Any]]], Any]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The address of a SQLite store that no other test sees."""
    return f"sqlite:///{tmp_path}/app.db"


@pytest.fixture
def run() -> Run:
    """Runs a scenario (a coroutine function without arguments) on a loop of its own, bounded in time."""

    def bounded(scenario: Callable[[], Awaitable[Any]]) -> Any:
        async def within() -> Any:
            async with asyncio.timeout(SCENARIO_SECONDS):
                return await scenario()

        return asyncio.run(within())

    return bounded
