"""Chromium without a screen, driven by its own driver, and what tests ask of a page in it."""

from __future__ import annotations

import base64
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scripts.browser import AXE
from tests.browser.site import Site, fill, served, shop

SCREENS = Path(__file__).parents[2] / ".ci" / "out" / "screens"
"""Where screenshots are left for people to look at."""
PATIENCE_SECONDS = 20.0
DESK, PHONE = (1360, 900), (390, 844)
AXE_RUN = """
const done = arguments[arguments.length - 1];
axe.run(document, {resultTypes: ["violations"]}).then((found) => done(found.violations.map((one) => ({
  id: one.id, impact: one.impact, help: one.help, nodes: one.nodes.map((node) => node.html.slice(0, 200)),
}))));
"""


class Chromium:
    """One window."""

    def __init__(self, arguments: tuple[str, ...] = ()) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = _program("chromium")
        for argument in (
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
            "--disable-background-networking", "--no-first-run", *arguments,
        ):  # fmt: skip
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(_program("chromedriver")))
        self.look()

    def look(self, size: tuple[int, int] = DESK, *, dark: bool = False) -> None:
        """Be a desk or a phone, by day or by night."""
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def scripts(self, *, run: bool) -> None:
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not run})

    def open(self, url: str) -> None:
        self.driver.get(url)

    def find(self, css: str) -> Any:
        return self.driver.find_element("css selector", css)

    def text(self, css: str = "body") -> str:
        return self.driver.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", css)

    def js(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def until(self, condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
        """What the condition gives as soon as it is true."""
        ends = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < ends, f"it did not come to that; the page says: {self.text()[:2_000]}"
            time.sleep(0.02)
        return found

    def complaints(self) -> list[str]:
        """What the console has to say since it was asked last, refusals of the content policy among it."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def accessibility(self) -> list[str]:
        """What axe-core finds in the page that is serious."""
        # through the debugger, because the page's own content policy lets no script of ours in
        self.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE.read_text(encoding="utf-8")})
        found = self.driver.execute_async_script(AXE_RUN)
        grave = [one for one in found if one["impact"] in ("serious", "critical")]
        return [f"{one['id']}: {one['help']}: {node}" for one in grave for node in one["nodes"]]

    def shoot(self, name: str) -> None:
        """Leave a screenshot of the whole page."""
        SCREENS.mkdir(parents=True, exist_ok=True)
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
        (SCREENS / f"{name}.png").write_bytes(base64.b64decode(taken["data"]))

    def timing(self) -> dict[str, float]:
        """When the page was there, in milliseconds since it was asked for."""
        entry = self.js("return JSON.stringify(performance.getEntriesByType('navigation')[0])")
        return json.loads(entry)

    def close(self) -> None:
        self.driver.quit()


@contextmanager
def window(*arguments: str) -> Iterator[Chromium]:
    chromium = Chromium(arguments)
    try:
        yield chromium
    finally:
        chromium.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with window() as opened:
        yield opened


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A shop at rest, with some of everything."""
    folder = tmp_path_factory.mktemp("shop")
    with served(shop(f"sqlite:///{folder}/shop.db")) as opened:
        opened.run(fill(opened.app))
        yield opened


def _program(name: str) -> str:
    found = shutil.which(name)
    assert found is not None, f"{name} is not installed; run: python scripts/browser.py"
    return found
