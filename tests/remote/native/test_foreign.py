"""An App at a server that knows the public protocol alone: what it can do there, and what it is told it cannot."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from perdure import WorkflowFailed
from perdure.errors import NotSupportedByServer, RemoteError
from perdure.remote.requests import Flavour
from tests.remote.native.capabilities import IGNORED, is_refused
from tests.remote.native.features import FEATURES, Where
from tests.remote.native.serving import foreign

SECONDS = 20.0


@pytest.mark.parametrize("flavour", [Flavour.DAPR, Flavour.MICROSOFT])
@pytest.mark.parametrize("name", [name for name in FEATURES if name not in IGNORED])
def test_a_feature_works_or_is_refused(name: str, flavour: Flavour, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/app.db"

    async def scenario() -> None:
        async with asyncio.timeout(SECONDS), foreign(store, flavour) as url:
            await FEATURES[name](Where({"server": url}, store))

    if not is_refused(name, flavour):
        asyncio.run(scenario())
        return
    with pytest.raises((NotSupportedByServer, WorkflowFailed)) as caught:
        asyncio.run(scenario())
    error = caught.value
    if isinstance(error, WorkflowFailed):  # because only the code that runs tells that it asks for such a thing
        assert isinstance(error.__cause__, RemoteError)
        assert error.__cause__.type == "NotSupportedByServer"
