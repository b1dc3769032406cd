"""Each feature of an App is tried where the engine is in the process, and where it is behind `perdure serve`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from perdure.errors import NotSupportedByServer, WorkflowFailed
from tests.remote.native.capabilities import NO_SERVER, PAGE, page
from tests.remote.native.features import FEATURES, Where
from tests.remote.native.serving import served

SECONDS = 20.0


@pytest.mark.parametrize("name", FEATURES)
def test_embedded(name: str, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/app.db"
    given = store + "?shared=yes" if name in NO_SERVER else store

    async def scenario() -> None:
        async with asyncio.timeout(SECONDS):
            await FEATURES[name](Where({"store": given}, store))

    asyncio.run(scenario())


@pytest.mark.parametrize("name", FEATURES)
def test_on_a_server(name: str, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/app.db"

    async def scenario() -> None:
        async with asyncio.timeout(SECONDS), served(store) as there:
            await FEATURES[name](Where({"server": there.url}, store))

    if name not in NO_SERVER:
        asyncio.run(scenario())
        return
    with pytest.raises((NotSupportedByServer, WorkflowFailed), match="note"):
        asyncio.run(scenario())


def test_the_page_says_what_was_tried() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m tests.remote.native.capabilities`"
