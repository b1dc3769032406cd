"""Several stores and servers in one window: the switch in the header, and one that is down."""

from __future__ import annotations

import pytest

from perdure.errors import ServerUnavailable
from perdure.remote.dashboard import Role, Target, Targets
from tests.browser.conftest import PHONE
from tests.browser.site import served, shop

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


def _targets(app):
    class Here:
        async def apps(self):
            return ("billing", "shop")

        async def client(self, name):
            return app.client

        async def close(self):
            """It is the test's."""

    async def up():
        return Here()

    async def down():
        raise ServerUnavailable("nobody listens at lab.example.org:50001; start the server, or check the address")

    return Targets([Target("prod", up), Target("staging", up, role=Role.READ), Target("lab", down)])


def test_the_header_leads_from_one_to_another(tmp_path, chromium):
    with served(shop(f"sqlite:///{tmp_path}/shop.db"), _targets) as site:
        site.start("waiting", "x", id="one")
        for look, size, dark in (("light", (1360, 900), False), ("dark", (1360, 900), True), ("phone", PHONE, False)):
            chromium.look(size, dark=dark)
            chromium.open(site.url)
            chromium.shoot(f"targets-{look}")
            assert chromium.accessibility() == []
        chromium.look()
        assert "nobody listens at lab.example.org:50001" in chromium.text("main")
        chromium.driver.find_element("link text", "prod").click()
        chromium.until(lambda: "one" in chromium.text("#live"))
        chromium.find("#targets-switch summary").click()
        told = chromium.text("#targets-switch")
        assert "down" in told
        chromium.shoot("targets-switch-light")
        assert chromium.accessibility() == []
        chromium.find("#targets-switch li:nth-child(2) a").click()
        chromium.until(lambda: "/at/staging/" in chromium.driver.current_url)
        assert "read only" in chromium.text("header")
        chromium.find("#apps-switch summary").click()
        chromium.find("#apps-switch li:nth-child(2) a").click()
        chromium.until(lambda: "app=shop" in chromium.driver.current_url)
        chromium.open(f"{site.url}/at/lab/instances")
        assert "lab is down" in chromium.text("main")
        assert chromium.accessibility() == []
        assert all("503" in told for told in chromium.complaints())
