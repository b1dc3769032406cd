"""Other sites in the same browser: they reach nothing, by their own name or ours."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from perdure.remote.dashboard import Role
from perdure.remote.security import Token
from tests.browser.conftest import window
from tests.browser.site import served, shop

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
FORM = """<!doctype html><form id=f method=post action="{url}/at/here/instance/terminate?id=target">
<input name=output value=1></form><script>document.getElementById("f").submit()</script>"""
FRAME = """<!doctype html><title>framing</title><iframe src="{url}/at/here/instances"></iframe>"""


@contextmanager
def elsewhere(page: str) -> Iterator[str]:
    """Another site, with one page."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *arguments: object) -> None:
            """Nobody reads it."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def test_a_form_of_another_site_ends_nothing(site, chromium):
    site.start("waiting", "x", id="target")
    chromium.open(f"{site.url}/at/here/instances")  # so that there is a session to misuse
    with elsewhere(FORM.format(url=site.url)) as url:
        chromium.open(url)
        chromium.until(lambda: "sent by another site" in chromium.text())
    assert site.status("target") == "running"


def test_no_other_site_frames_it(site, chromium):
    with elsewhere(FRAME.format(url=site.url)) as url:
        chromium.open(url)
        chromium.until(
            lambda: any("frame-ancestors" in line or "X-Frame-Options" in line for line in chromium.complaints())
        )


def test_a_name_that_was_bound_anew_shows_nothing(site):
    with window("--host-resolver-rules=MAP rebound.example.org 127.0.0.1") as chromium:
        chromium.open(f"http://rebound.example.org:{site.port}/at/here/instances")
        assert "does not go by that name" in chromium.text()
        assert "order-1000" not in chromium.text()


def test_a_token_opens_it_and_a_log_out_closes_it(tmp_path, chromium):
    tokens = [(Token("s3cret-token"), Role.READ)]
    with served(shop(f"sqlite:///{tmp_path}/shop.db"), tokens=tokens) as locked:
        locked.start("waiting", "x", id="hidden")
        for look, dark in (("light", False), ("dark", True)):
            chromium.look(dark=dark)
            chromium.open(f"{locked.url}/at/here/instances")
            chromium.shoot(f"login-{look}")
            assert chromium.accessibility() == []
        chromium.look()
        assert "hidden" not in chromium.text()
        chromium.find("[name=token]").send_keys("wrong")
        chromium.find("form .primary").click()
        chromium.until(lambda: "opens nothing here" in chromium.text())
        chromium.find("[name=token]").send_keys("s3cret-token")
        chromium.find("form .primary").click()
        chromium.until(lambda: "hidden" in chromium.text())
        assert chromium.js("return document.cookie") == "", "no script reads the session"
        assert "read only" in chromium.text("header")
        chromium.find(".who button").click()
        chromium.until(lambda: "Log in" in chromium.text("main"))
        chromium.open(f"{locked.url}/at/here/instances")
        assert "hidden" not in chromium.text()
        chromium.complaints()
