"""Each page in a real browser: by day, by night and on a phone; for everybody, and without a complaint."""

from __future__ import annotations

import pytest

from tests.browser.conftest import DESK, PHONE

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
PAGES = {
    "instances": "/at/here/instances",
    "instances-filtered": "/at/here/instances?state=failed&text=refund",
    "instances-empty": "/at/here/instances?text=nothing-like-this",
    "instance-running": "/at/here/instance?id=order-1005",
    "instance-completed": "/at/here/instance?id=order-1001",
    "instance-failed": "/at/here/instance?id=refund-0",
    "instance-suspended": "/at/here/instance?id=order-1009",
    "instance-retrying": "/at/here/instance?id=probe-1",
    "raise": "/at/here/instance/raise?id=order-1005&name=approved",
    "terminate": "/at/here/instance/terminate?id=order-1005",
    "rerun": "/at/here/instance/rerun?id=order-1001",
    "schedules": "/at/here/schedules",
    "pause": "/at/here/schedule/pause?id=every-night",
    "nodes": "/at/here/nodes",
    "causes": "/at/here/causes",
    "failures": "/at/here/failures",
    "audit": "/at/here/audit",
    "missing": "/at/here/instance?id=nobody",
}
LOOKS = {"light": (DESK, False), "dark": (DESK, True), "phone": (PHONE, False)}


@pytest.mark.parametrize("page", PAGES)
def test_it_is_for_everybody_and_fits(site, chromium, page):
    for look, (size, dark) in LOOKS.items():
        chromium.look(size, dark=dark)
        chromium.open(site.url + PAGES[page])
        chromium.shoot(f"{page}-{look}")
        assert chromium.accessibility() == [], look
        overflow = chromium.js("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, f"{look}: the page is {overflow} pixels wider than the window"
        complaints = [told for told in chromium.complaints() if page != "missing" or "404" not in told]
        assert complaints == []
        assert chromium.js("return document.querySelectorAll('h1').length") == 1


@pytest.mark.parametrize("page", ["instances", "instance-running", "instance-completed", "schedules", "nodes"])
def test_it_can_be_read_without_scripts(site, chromium, page):
    chromium.look()
    chromium.scripts(run=False)
    try:
        chromium.open(site.url + PAGES[page])
        told = chromium.find("main").text
        chromium.shoot(f"{page}-noscript")
    finally:
        chromium.scripts(run=True)
    expected = {
        "instances": "order-1005",
        "instance-running": "waits for the event 'approved' that nobody has sent",
        "instance-completed": "ActivityCompleted",
        "schedules": "until the new tax rates are in",
        "nodes": "activities",
    }
    assert expected[page] in told
