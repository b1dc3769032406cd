"""The dashboard as people use it: with a mouse, with keys, for a while, while things happen."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


def press(chromium, *keys):
    for key in keys:
        ActionChains(chromium.driver).send_keys(key).perform()


def test_what_is_started_appears_by_itself(site, chromium):
    chromium.open(f"{site.url}/at/here/instances?text=live-")
    assert "live-1" not in chromium.text()
    site.start("waiting", "one", id="live-1")
    chromium.until(lambda: "live-1" in chromium.text("#live"))
    assert chromium.complaints() == []


def test_an_event_is_raised_and_the_page_sees_the_end(site, chromium):
    site.start("waiting", "two", id="use-1")
    chromium.open(f"{site.url}/at/here/instances")
    chromium.until(lambda: "use-1" in chromium.text("#live"))
    chromium.driver.find_element("link text", "use-1").click()
    chromium.until(lambda: "waits for the event 'go'" in chromium.text())
    chromium.driver.find_element("link text", "Raise event").click()
    assert chromium.find("[name=name]").get_attribute("value") == "go"
    chromium.find("[name=data]").send_keys('{"answer": 42}')
    chromium.find("form .primary").click()
    chromium.until(lambda: "completed" in chromium.text(".headline"))
    assert '"answer":42' in chromium.text("main").replace(" ", "")
    assert site.status("use-1") == "completed"
    assert chromium.complaints() == []


def test_terminating_asks_before_it_does(site, chromium):
    site.start("waiting", "three", id="use-2")
    chromium.open(f"{site.url}/at/here/instance?id=use-2")
    chromium.driver.find_element("link text", "Terminate").click()
    assert "No code of it runs any more" in chromium.text()
    chromium.driver.find_element("link text", "Back").click()
    assert site.status("use-2") == "running"
    chromium.driver.find_element("link text", "Terminate").click()
    chromium.find("form .danger").click()
    chromium.until(lambda: "terminated" in chromium.text(".headline"))
    assert site.status("use-2") == "terminated"


def test_what_is_unfolded_stays_so_while_the_page_lives(site, chromium):
    chromium.open(f"{site.url}/at/here/instance?id=order-1005")
    chromium.js("document.querySelector('#event-2').scrollIntoView()")
    chromium.find("#event-2 summary").click()
    chromium.js("document.querySelector('#live').dataset.old = 'yes'")
    chromium.until(lambda: chromium.js("return document.querySelector('#live').dataset.old !== 'yes'"))
    assert chromium.js("return document.querySelector('#event-2').open") is True
    assert chromium.js("return document.querySelector('#event-3').open") is False
    assert "ann@example.org" in chromium.text("#event-2")


def test_keys_lead_through_the_list(site, chromium):
    chromium.open(f"{site.url}/at/here/instances")
    press(chromium, "/")
    assert chromium.js("return document.activeElement.id") == "search"
    press(chromium, "order-100", Keys.ENTER)
    chromium.until(lambda: "text=order-100" in chromium.driver.current_url)
    press(chromium, "j", "j", "k", "j")
    second = chromium.js("return document.activeElement.textContent")
    assert second == chromium.find("tbody tr:nth-child(2) a").text
    chromium.js("document.querySelector('#live').dataset.old = 'yes'")
    chromium.until(lambda: chromium.js("return document.querySelector('#live').dataset.old !== 'yes'"))
    assert chromium.js("return document.activeElement.textContent") == second
    press(chromium, Keys.ENTER)
    chromium.until(lambda: chromium.text("h1") == second)


def test_the_focus_stays_while_the_page_lives(site, chromium):
    chromium.open(f"{site.url}/at/here/instance?id=order-1005")
    for focus in ("a[href*='instance/terminate']", "#event-2 summary", "[data-copies]"):
        chromium.js("document.querySelector(arguments[0]).focus()", focus)
        chromium.js("document.querySelector('#live').dataset.old = 'yes'")
        chromium.until(lambda: chromium.js("return document.querySelector('#live').dataset.old !== 'yes'"))
        assert chromium.js("return document.activeElement === document.querySelector(arguments[0])", focus), focus


def test_everything_is_reached_by_tab(site, chromium):
    chromium.open(f"{site.url}/at/here/instance?id=order-1005")
    chromium.js("document.activeElement.blur()")
    reached = []
    for _ in range(40):
        press(chromium, Keys.TAB)
        reached.append(
            chromium.js("return (document.activeElement.innerText || document.activeElement.name || '').trim()")
        )
    assert reached[0] == "Skip to the content"
    for name in ("Instances", "Schedules", "Nodes", "Copy", "Raise event", "Suspend", "Cancel", "Terminate"):
        assert name in reached, name


def test_nothing_that_was_written_runs(site, chromium):
    evil = "</script><script>window.hit = 1</script><img src=x onerror='window.hit = 2'>\"'><svg onload='window.hit=3'>"
    site.start("waiting", {evil: evil}, id=f"evil {evil}", tags={"t": evil})
    site.start("refund", evil, id="evil-failing")
    chromium.until(lambda: site.status("evil-failing") == "failed")
    for path in (
        "/at/here/instances",
        "/at/here/instance?id=" + chromium.js("return encodeURIComponent(arguments[0])", f"evil {evil}"),
        "/at/here/instance?id=evil-failing",
        "/at/here/instances?text=" + chromium.js("return encodeURIComponent(arguments[0])", evil),
    ):
        chromium.open(site.url + path)
        chromium.js("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert chromium.js("return window.hit ?? null") is None
        assert chromium.js("return document.querySelectorAll('main img, main script, [onload], [onerror]').length") == 0
        assert chromium.complaints() == []
    assert "window.hit = 2" in chromium.text() or chromium.find("#search").get_attribute("value") == evil
