"""The dashboard as a whole: what stands before its pages, and that none of them lets a payload become markup."""

import asyncio
from html import unescape
from urllib.parse import quote

import pytest

from perdure.remote.dashboard import Role
from perdure.remote.security import Token
from tests.remote.dashboard.shop import browsing, shop, text_of

EVIL = "</pre><script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
EVIL_ID = "x<script>alert(3)</script>&id=\"'#/%2f?"


def test_the_list_leads_to_an_instance_and_its_explanation(url, run):
    async def scenario():
        app = shop(url)
        async with app, browsing(app) as browser:
            await app.client.workflow("approval").with_options(id="order/1 &c", tags={"team": "a"}).start("book")
            handle = app.client.get("order/1 &c")
            while (await handle.state()).custom_status != {"step": "approval"}:
                await asyncio.sleep(0)
            home = await browser.get("/")
            listed = await browser.get(home.headers["location"])
            assert listed.status_code == 200
            assert 'href="/at/here/instance?id=order%2F1+%26c"' in listed.text
            page = await browser.get("/at/here/instance", id="order/1 &c")
            told = text_of(page.text)
            assert "waits for the event 'approved' that nobody has sent" in told
            assert "pack #1" in told
            assert "ActivityCompleted" in told

    run(scenario)


def test_an_action_is_asked_for_confirmed_and_done(url, run):
    async def scenario():
        app = shop(url)
        async with app, browsing(app) as browser:
            handle = await app.client.workflow("approval").with_options(id="one").start("book")
            asked = await browser.get("/at/here/instance/raise", id="one", name="approved")
            assert 'value="approved"' in asked.text
            done = await browser.post(
                "/at/here/instance/raise", {"name": "approved", "data": '{"by": "Ann"}'}, {"id": "one"}
            )
            assert done.status_code == 303
            assert await handle.result() == ["parcel of book", {"by": "Ann"}]
            page = await browser.get(done.headers["location"])
            assert "The event is in the mailbox." in page.text
            bad = await browser.post("/at/here/instance/raise", {"name": "approved", "data": "{"}, {"id": "one"})
            assert bad.status_code == 400
            assert "the data is not JSON" in text_of(bad.text)

    run(scenario)


def test_a_browser_of_the_process_before_gets_a_session_that_lasts(url, run):
    async def scenario():
        app = shop(url)
        async with app:
            handle = await app.client.workflow("approval").with_options(id="one").start("book")
            async with browsing(app) as before:
                await before.get("/at/here/instance/suspend", id="one")
                cookies = before.client.cookies
            async with browsing(app) as browser:
                browser.client.cookies = cookies
                browser.token = before.token
                old = await browser.post("/at/here/instance/suspend", {"reason": "a form of before"}, {"id": "one"})
                assert old.status_code == 403
                await browser.get("/at/here/instance/suspend", id="one")
                done = await browser.post("/at/here/instance/suspend", {"reason": "x"}, {"id": "one"})
                assert done.status_code == 303
            assert (await handle.state()).suspended.reason == "x"

    run(scenario)


def test_dashboards_on_two_ports_of_a_host_do_not_end_each_others_sessions(url, run):
    async def scenario():
        app = shop(url)
        async with app, browsing(app) as browser, browsing(app) as other:
            await app.client.workflow("approval").with_options(id="one").start("book")
            browser.client.base_url, other.client.base_url = "http://localhost:3580", "http://localhost:3500"
            await browser.get("/at/here/instance/suspend", id="one")
            other.client.cookies = browser.client.cookies  # because those of a host are sent to all of its ports
            await other.get("/")
            browser.client.cookies = other.client.cookies
            origin = {"origin": "http://localhost:3580"}
            done = await browser.post("/at/here/instance/suspend", {"reason": "x"}, {"id": "one"}, **origin)
            assert done.status_code == 303

    run(scenario)


def test_no_value_of_anybody_becomes_markup(url, run):
    async def scenario():
        app = shop(url)
        async with app, browsing(app) as browser:
            start = app.client.workflow("approval").with_options(id=EVIL_ID, tags={"<b>": EVIL})
            await start.start(EVIL)
            handle = app.client.get(EVIL_ID)
            await handle.raise_event(EVIL[:100], EVIL)
            await handle.raise_event("approved", {EVIL: EVIL})
            await handle.result()
            failing = await app.client.workflow("refund").with_options(id="failing").start(EVIL)
            await asyncio.wait({asyncio.ensure_future(failing.result())})
            held = await app.client.workflow("approval").with_options(id="held").start(EVIL)
            await held.suspend(EVIL)
            for path, query in (
                ("/at/here/instances", {}),
                ("/at/here/instances", {"text": EVIL, "name": EVIL, "tag": EVIL, "cursor": "", "state": EVIL}),
                ("/at/here/instance", {"id": EVIL_ID}),
                ("/at/here/instance", {"id": "failing"}),
                ("/at/here/instance", {"id": "held"}),
                ("/at/here/instance", {"id": "none" + EVIL}),
                ("/at/here/instance/raise", {"id": "held", "name": EVIL}),
                ("/at/here/instance/resume", {"id": "held"}),
                ("/at/here/instance/purge", {"id": EVIL_ID}),
                ("/at/here/instance/" + EVIL.replace("/", ""), {"id": "held"}),
                ("/at/" + EVIL.replace("/", "") + "/instances", {}),
                ("/" + EVIL, {}),
            ):
                page = await browser.get(path, **query)
                assert "<script>alert" not in page.text, path
                assert "<img" not in page.text, path
                assert " onerror" not in page.text.replace("&gt;", "").replace("&lt;img src=x onerror", ""), path
            shown = await browser.get("/at/here/instance", id=EVIL_ID)
            assert EVIL in unescape(unescape(shown.text)).replace('\\"', '"')  # so that it was there to become markup

    run(scenario)


def test_only_names_of_ours_are_answered(url, run):
    async def scenario():
        app = shop(url)
        async with app, browsing(app, hosts=["Ops.example.org"]) as browser:
            for host, status in (
                ("localhost", 303),
                ("localhost:3580", 303),
                ("127.0.0.1:3580", 303),
                ("[::1]:3580", 303),
                ("ops.example.org", 303),
                ("OPS.example.org:443", 303),
                ("evil.example.org", 421),
                ("localhost.evil.org", 421),
                ("evil.org@localhost", 421),
                ("", 421),
            ):
                answer = await browser.client.get("/", headers={"host": host})
                assert answer.status_code == status, host

    run(scenario)


def test_a_form_of_another_site_does_nothing(url, run):
    async def scenario():
        app = shop(url)
        async with app, browsing(app) as browser:
            handle = await app.client.workflow("approval").with_options(id="one").start("book")
            await browser.get("/at/here/instance/terminate", id="one")
            path, query = "/at/here/instance/terminate", {"id": "one"}
            good = browser.token
            for token, headers in (
                (good, {"origin": "http://evil.example.org"}),
                (good, {"origin": "null"}),
                (good, {"origin": "http://localhost", "sec-fetch-site": "cross-site"}),
                (good, {"origin": "http://localhost", "sec-fetch-site": "same-site"}),
                ("", {"origin": "http://localhost"}),
                ("0" * 64, {"origin": "http://localhost"}),
                ("é" * 64, {"origin": "http://localhost"}),
            ):
                answer = await browser.client.post(path, params=query, data={"form_token": token}, headers=headers)
                assert answer.status_code == 403, (token, headers)
            cookieless = await browser.client.post(
                path, params=query, data={"form_token": good}, headers={"cookie": "perdure_session="}
            )
            assert cookieless.status_code == 403
            asked = await browser.client.get(path, params=query | {"form_token": good, "recursive": "on"})
            assert asked.status_code == 200
            assert (await handle.state()).status == "running"
            await browser.post(path, {"output": ""}, query)
            await asyncio.wait({asyncio.ensure_future(handle.result())})
            assert (await handle.state()).status == "terminated"

    run(scenario)


def test_every_answer_forbids_what_is_inline_or_from_elsewhere(url, run):
    async def scenario():
        app = shop(url)
        async with app, browsing(app) as browser:
            await app.client.workflow("approval").with_options(id="one").start("book")
            paths = (
                "/", "/at/here/instances", "/at/here/instance?id=one", "/at/none/instances", "/static/dashboard.js",
                "/nowhere",
            )  # fmt: skip
            for path in paths:
                answer = await browser.client.get(path)
                policy = answer.headers["content-security-policy"]
                assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy, path
                assert "unsafe" not in policy
                assert answer.headers["x-frame-options"] == "DENY"
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert not {"style=", "<style", "onclick", "javascript:"} & set(answer.text.split()), path

    run(scenario)


def test_a_token_opens_what_its_role_allows(url, run):
    async def scenario():
        app = shop(url)
        tokens = [(Token("secret-of-admins"), Role.ADMIN), (Token("secret-of-readers"), Role.READ)]
        async with app:
            handle = await app.client.workflow("approval").with_options(id="one").start("book")
            async with browsing(app, tokens=tokens) as browser:
                for path in ("/", "/at/here/instances", "/at/here/instance?id=one", "/at/none/instances"):
                    answer = await browser.client.get(path)
                    assert (answer.status_code, answer.headers["location"]) == (303, "/login"), path
                polled = await browser.client.get("/at/here/instances", headers={"hx-request": "true"})
                assert (polled.status_code, polled.headers["hx-redirect"]) == (401, "/login")
                refused = await browser.post("/login", {"token": "secret-of-admin"})
                assert refused.status_code == 401
                assert "set-cookie" not in refused.headers
                opened = await browser.post("/login", {"token": "secret-of-readers"})
                assert opened.status_code == 303
                cookie = opened.headers["set-cookie"].lower()
                assert "httponly" in cookie
                assert "samesite=strict" in cookie
                read = await browser.get("/at/here/instance", id="one")
                assert "Terminate" not in read.text
                assert (await browser.get("/at/here/instance/cancel", id="one")).status_code == 403
                forged = browser.client.cookies["perdure_session"].replace(".1.", ".3.")
                answer = await browser.client.get(
                    "/at/here/instance/cancel?id=one", headers={"cookie": f"perdure_session={forged}"}
                )
                assert answer.status_code in (303, 403)
                out = await browser.post("/logout", {})
                assert out.headers["location"] == "/login"
                assert (await browser.client.get("/at/here/instances")).status_code == 303
            async with browsing(app, tokens=tokens) as browser:
                await browser.post("/login", {"token": "secret-of-admins"})
                assert "Terminate" in (await browser.get("/at/here/instance", id="one")).text
            assert (await handle.state()).status == "running"

    run(scenario)


@pytest.mark.parametrize("action", ["raise", "cancel", "suspend", "resume", "terminate", "purge"])
def test_read_only_shows_and_does_nothing(url, run, action):
    async def scenario():
        app = shop(url)
        async with app, browsing(app, read_only=True) as browser:
            handle = await app.client.workflow("approval").with_options(id="one").start("book")
            page = await browser.get("/at/here/instance", id="one")
            assert page.status_code == 200
            assert "/instance/" not in page.text
            answer = await browser.post(f"/at/here/instance/{action}", {"name": "approved"}, {"id": "one"})
            assert answer.status_code == 403
            for path in ("/at/here/failures/retry?fingerprint=x", "/at/here/schedule/delete?id=x"):
                assert (await browser.client.get(path)).status_code == 403, path
            assert (await handle.state()).status == "running"

    run(scenario)


def test_what_is_too_long_is_refused_in_words(url, run):
    async def scenario():
        app = shop(url)
        async with app, browsing(app) as browser:
            await app.client.workflow("approval").with_options(id="one").start("book")
            await browser.get("/at/here/instance/raise", id="one")
            long = await browser.get("/at/here/instance", id="x" * 2_000)
            assert long.status_code == 400
            listed = await browser.get("/at/here/instances", text="x" * 30_000, tag="=" * 5_000, name="\x00")
            assert listed.status_code == 200
            form = {"name": "approved", "data": '"' + "x" * 1_100_000 + '"'}
            answer = await browser.post("/at/here/instance/raise", form, {"id": "one"})
            assert answer.status_code == 400
            assert "1,048,576 bytes" in answer.text
            cursor = await browser.get("/at/here/instances", cursor="nonsense")
            assert cursor.status_code == 400

    run(scenario)


@pytest.mark.long
def test_nothing_in_an_address_is_a_defect(url, run, caplog):
    nasty = [
        "",
        "\x00",
        "%ff",
        "%ed%a0%80",
        "-1",
        "9" * 40,
        "1e9",
        "\u202e",
        "'",
        "x" * 3_000,
        "../..",
        "%2e%2e%2f",
        "٣",
    ]
    paths = ["instances", "instance", "schedules", "nodes", "failures", "failures/retry", "audit", "causes"]
    paths += [f"instance/{action}" for action in ("raise", "rerun", "purge", "none", "%00")]
    paths += [f"schedule/{action}" for action in ("pause", "trigger", "none")]
    names = ("id", "app", "text", "name", "tag", "state", "since", "parent", "cursor", "after", "before", "instance",
             "fingerprint", "from", "seen", "done")  # fmt: skip

    async def scenario():
        app = shop(url)
        async with app, browsing(app) as browser:
            await app.client.workflow("approval").with_options(id="one").start("book")
            for path in paths:
                for value in nasty:
                    escaped = value if value.startswith("%") else quote(value)
                    for query in (f"id=one&{'&'.join(f'{name}={escaped}' for name in names[1:])}", f"id={escaped}"):
                        answer = await browser.client.get(f"/at/here/{path}?{query}")
                        assert answer.status_code in (200, 204, 400, 404), (path, query, answer.status_code)

    run(scenario)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_defect_is_a_page_and_a_line_of_the_log(url, run, caplog, monkeypatch):
    async def scenario():
        app = shop(url)
        async with app, browsing(app) as browser:

            async def broken(*arguments):
                raise ZeroDivisionError("a secret of the inside")

            monkeypatch.setattr(type(app.client.gateway), "nodes", broken)
            answer = await browser.get("/at/here/nodes")
            assert answer.status_code == 500
            assert "It is a defect" in answer.text
            assert "secret" not in answer.text
            assert "content-security-policy" in answer.headers

    run(scenario)
    assert "a page of the dashboard failed: nodes" in caplog.text


def test_a_session_goes_over_tls_alone_where_there_is_some(url, run):
    async def scenario():
        app = shop(url)
        async with app, browsing(app) as browser:
            plain = await browser.client.get("/at/here/instances")
            assert "secure" not in plain.headers["set-cookie"].lower()
            browser.client.cookies.clear()
            behind = await browser.client.get("/at/here/instances", headers={"x-forwarded-proto": "https"})
            assert "secure" in behind.headers["set-cookie"].lower()
            browser.client.cookies.clear()
            direct = await browser.client.get("https://localhost/at/here/instances")
            assert "secure" in direct.headers["set-cookie"].lower()

    run(scenario)
