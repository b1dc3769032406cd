"""The conversation of an agent in a real browser: it fits, is for everybody, and grows while one looks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.conftest import DESK, PHONE, Chromium
from tests.browser.site import Site, served
from tests.remote.dashboard.test_conversation import desk

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
PAGE = "/at/here/conversation?id=talk-1"


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An agent that waits for a word of people."""
    folder = tmp_path_factory.mktemp("desk")
    with served(desk(f"sqlite:///{folder}/desk.db")) as opened:
        opened.start("talk", "how far?", id="talk-1")
        yield opened


def test_it_shows_what_was_said_fits_and_goes_on(talking: Site, chromium: Chromium) -> None:
    for look, (size, dark) in {"light": (DESK, False), "dark": (DESK, True), "phone": (PHONE, False)}.items():
        chromium.look(size, dark=dark)
        chromium.open(talking.url + PAGE)
        chromium.until(lambda: "Waits for a decision" in chromium.text())
        assert "Rome is far" in chromium.text(".conversation")
        chromium.shoot(f"conversation-{look}")
        assert chromium.accessibility() == [], look
        assert chromium.js("return document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        assert chromium.complaints() == []
    chromium.look()
    chromium.open(talking.url + "/at/here/instance?id=talk-1")
    chromium.js("[...document.querySelectorAll('a.button')].find((one) => one.innerText == 'Conversation').click()")
    chromium.until(lambda: "Rome: 900 miles" in chromium.text())

    async def go() -> None:
        await talking.app.client.get("talk-1").raise_event("go")

    talking.run(go())
    chromium.until(lambda: "completed" in chromium.text(".headline"))
    assert "Waits for a decision" not in chromium.text()
    assert chromium.complaints() == []
