"""The fuzzing of the HTTP API finds what is wrong. That it finds nothing else, a suite of `make ci` shows."""

from __future__ import annotations

import pytest

from tests.fuzz.http_api import fuzz
from tests.remote.http.desk import Around

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]


class Choosy(Around):
    """A gateway with a defect: the words of one language."""

    async def command(self, id, execution, event, key):
        if not getattr(event, "name", "").isascii():
            raise RuntimeError("only ASCII was thought of")
        return await self._inner.command(id, execution, event, key)


def test_a_defect_is_found():
    code, told = fuzz(1, 20, around=Choosy)
    assert code == 1
    assert "Server error" in told
    assert "raiseEvent" in told
