"""Each page with what it shows and what its forms do."""

from __future__ import annotations

import asyncio

import pytest

from perdure.errors import InstanceNotFound, ServerUnavailable, StoreUnavailable
from perdure.remote.dashboard import Role, Target, Targets
from tests.remote.dashboard.shop import browsing, shop, text_of


def test_the_list_is_filtered_counted_and_paged(url, run):
    async def scenario():
        app = shop(url)
        async with app, browsing(app) as browser:
            approval = app.client.workflow("approval")
            for number in range(120):
                tags = {"team": "a" if number % 2 else "b"}
                await approval.with_options(id=f"order-{number:03}", tags=tags).start("book")
            failing = await app.client.workflow("refund").with_options(id="refund").start("no")
            await asyncio.wait({asyncio.ensure_future(failing.result())})
            first = await browser.get("/at/here/instances")
            assert first.text.count("<tr><td>") == 50
            assert "120 running" in text_of(first.text).replace("120 </strong>", "120")
            assert "1 failed" in text_of(first.text)
            older = first.text.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
            second = await browser.get(older)
            assert "order-070" in second.text
            assert "hx-get" not in second.text.split('id="live"')[1].split(">")[0]
            tagged = await browser.get("/at/here/instances", tag="team=a", text="ORDER-00")
            assert [f"order-00{number}" in tagged.text for number in range(6)] == [False, True] * 3
            failed = await browser.get("/at/here/instances", state="failed")
            assert "refund" in text_of(failed.text)
            assert "order-0" not in failed.text
            polled = await browser.get("/at/here/instances", headers={"hx-request": "true"})
            assert polled.text.lstrip().startswith('<section id="live"')
            assert "<html" not in polled.text

    run(scenario)


def test_a_finished_instance_is_rerun_with_an_edited_input(url, run):
    async def scenario():
        app = shop(url)
        async with app, browsing(app) as browser:
            handle = await app.client.workflow("approval").with_options(id="one").start("book")
            await handle.raise_event("approved", 1)
            await handle.result()
            asked = await browser.get("/at/here/instance/rerun", id="one")
            assert '<option value="1"' in asked.text
            assert "&#34;book&#34;</textarea>" in asked.text
            form = {"from": "1", "id": "two", "input": '"lamp"'}
            done = await browser.post("/at/here/instance/rerun", form, {"id": "one"})
            assert done.headers["location"] == "/at/here/instance?id=two&done=rerun"
            new = app.client.get("two")
            await new.raise_event("approved", 2)
            assert await new.result() == ["parcel of lamp", 2]
            same = await browser.post("/at/here/instance/rerun", {"from": "2", "input": ' "book"'}, {"id": "one"})
            assert same.status_code == 303
            here = await browser.get("/at/here/instance", id="one")
            assert "/at/here/instance/rerun?id=one&amp;from=2" in here.text
            chosen = await browser.get("/at/here/instance/rerun?id=one&from=2")
            assert '<option value="2" selected>' in chosen.text
            wrong = await browser.post("/at/here/instance/rerun", {"from": "77"}, {"id": "one"})
            assert wrong.status_code == 400
            assert "has no activity, timer or child numbered 77; `perdure history` shows them" in text_of(wrong.text)

    run(scenario)


def test_actions_change_what_they_say(url, run):
    async def scenario():
        app = shop(url)
        async with app, browsing(app) as browser:
            handle = await app.client.workflow("approval").with_options(id="one").start("book")
            await browser.get("/at/here/instance/suspend", id="one")
            await browser.post("/at/here/instance/suspend", {"reason": "fraud <check>"}, {"id": "one"})
            page = await browser.get("/at/here/instance", id="one")
            assert "was suspended (fraud <check>)" in text_of(page.text)
            assert "perdure resume one" in page.text
            await browser.post("/at/here/instance/resume", {}, {"id": "one"})
            assert (await handle.state()).suspended is None
            await browser.post("/at/here/instance/cancel", {"reason": "no"}, {"id": "one"})
            await asyncio.wait({asyncio.ensure_future(handle.result())})
            assert (await handle.state()).status == "canceled"
            again = await browser.get("/at/here/instance/cancel", id="one")
            assert again.status_code == 400
            gone = await browser.post("/at/here/instance/purge", {"recursive": "on"}, {"id": "one"})
            assert gone.headers["location"] == "/at/here/instances?done=purge"
            with pytest.raises(InstanceNotFound):
                await handle.state()
            assert (await browser.get("/at/here/instance", id="one")).status_code == 404

    run(scenario)


def test_parents_and_children_lead_to_each_other(url, run):
    async def scenario():
        app = shop(url)
        async with app, browsing(app) as browser:
            handle = await app.client.workflow("approval").with_options(id="one").start("book")
            await handle.raise_event("approved")
            await handle.result()
            (child,) = [state.id async for state in app.client.list(parent="one")]
            link = f'href="/at/here/instance?id={child.replace(":", "%3A")}"'
            parent = await browser.get("/at/here/instance", id="one")
            assert parent.text.count(link) == 3, "in the timeline, the graph and the table of children"
            below = await browser.get("/at/here/instance", id=child)
            assert 'href="/at/here/instance?id=one"' in below.text

    run(scenario)


def test_schedules_are_paused_resumed_and_triggered(url, run):
    async def scenario():
        app = shop(url)
        async with app, browsing(app) as browser:
            nightly = app.client.workflow("notify").with_schedule("nightly<b>", cron="0 3 * * *", timezone="UTC")
            schedule = await nightly.create("Ann")
            page = await browser.get("/at/here/schedules")
            assert "nightly&lt;b&gt;" in page.text
            assert "0 3 * * * UTC" in text_of(page.text)
            query = {"id": "nightly<b>"}
            await browser.get("/at/here/schedule/pause", **query)
            await browser.post("/at/here/schedule/pause", {"reason": "holiday"}, query)
            assert (await schedule.describe()).paused == "holiday"
            paused = text_of((await browser.get("/at/here/schedules")).text)
            assert "holiday" in paused
            assert "Resume" in paused
            done = await browser.post("/at/here/schedule/trigger", {}, query)
            assert "/at/here/instance?id=nightly" in done.headers["location"]
            await browser.post("/at/here/schedule/resume", {}, query)
            assert (await schedule.describe()).paused is None
            await browser.post("/at/here/schedule/delete", {}, query)
            assert "No schedule yet" in (await browser.get("/at/here/schedules")).text

    run(scenario)


def test_nodes_tell_of_themselves(url, run):
    async def scenario():
        app = shop(url)
        async with app, browsing(app) as browser:
            told = ""
            while "workflows" not in told:  # because a node tells of itself a moment after it lives
                told = text_of((await browser.get("/at/here/nodes")).text)
            assert "5 workflows, 3 activities" in told
            assert "1,000 slots" in told

    run(scenario)


class Elsewhere:
    """A place whose client is another's, or whose server has gone."""

    def __init__(self, client, error=None):
        self._client = client
        self.error = error
        self.closed = 0

    async def apps(self):
        return ("shop",)

    async def client(self, app):
        if self.error is not None:
            raise self.error
        return self._client

    async def close(self):
        self.closed += 1


def test_a_target_that_is_down_says_so_and_breaks_no_other(url, run):
    async def scenario():
        app = shop(url)
        async with app:
            await app.client.workflow("approval").with_options(id="one").start("book")
            place = Elsewhere(app.client)

            async def up():
                return place

            async def down():
                raise ServerUnavailable("nobody listens at lab.example.org:50001")

            async def silent():
                await asyncio.sleep(3_600)

            targets = Targets(
                [
                    Target("prod", up, role=Role.OPERATE),
                    Target("lab", down),
                    Target("far", silent, role=Role.READ, patience=0.1),
                ]
            )
            async with browsing(targets) as browser:
                home = text_of((await browser.get("/")).text)
                assert "prod up operate shop" in home
                assert "lab down admin nobody listens at lab.example.org:50001" in home
                assert "far down read it does not answer" in home
                lab = await browser.get("/at/lab/instances")
                assert lab.status_code == 503
                assert "nobody listens" in lab.text
                prod = await browser.get("/at/prod/instances")
                assert prod.status_code == 200
                assert "one" in text_of(prod.text)
                assert "lab down" in text_of(prod.text), "the switch in the header tells it"
                assert (await browser.get("/at/prod/instance/terminate", app="shop", id="one")).status_code == 403
                assert (await browser.get("/at/prod/instance/cancel", app="shop", id="one")).status_code == 200
                place.error = StoreUnavailable("the database is restarting")
                lost = await browser.get("/at/prod/instances")
                assert lost.status_code == 503
                assert place.closed == 1
            await targets.close()

    run(scenario)


def test_failures_stand_in_groups_and_run_again(url, run):
    async def scenario():
        app = shop(url)
        async with app, browsing(app) as browser:
            assert "Nothing has failed" in (await browser.get("/at/here/failures")).text
        async with app, browsing(app) as browser:
            for number in range(3):
                failing = await app.client.workflow("refund").with_options(id=f"r{number}").start(f"card {number}")
                await asyncio.wait({asyncio.ensure_future(failing.result())})
            told = text_of((await browser.get("/at/here/failures")).text)
            assert "ValueError: card <n>" in told
            fingerprint = (await app.client.failures())[0].fingerprint
            asked = await browser.get("/at/here/failures/retry", fingerprint=fingerprint)
            assert "Rerun 3" in asked.text
            done = await browser.post("/at/here/failures/retry", {}, {"fingerprint": fingerprint})
            assert done.status_code == 400
            assert "the first did not come through" in text_of(done.text)
            assert (await app.client.get("r0.rerun").state()).status == "failed"
            none = await browser.get("/at/here/failures/retry", fingerprint="<b>none")
            assert none.status_code == 400

    run(scenario)


def test_the_audit_log_tells_who_did_what_from_where(url, run):
    async def scenario():
        app = shop(url)
        async with app, browsing(app) as browser:
            assert "Nobody has done anything yet" in (await browser.get("/at/here/audit")).text
            await app.client.workflow("approval").with_options(id="one<b>").start("book")
            query = {"id": "one<b>"}
            await browser.get("/at/here/instance/suspend", **query)
            await browser.post("/at/here/instance/suspend", {"reason": "fraud <i>"}, query)
            await browser.post("/at/here/instance/raise", {"name": "approved"}, query)
            told = text_of((await browser.get("/at/here/audit")).text)
            assert "anonymous dashboard 127.0.0.1 suspend one<b> running" in told
            assert "fraud <i>" in told
            assert "anonymous dashboard 127.0.0.1 raise" in told
            assert "follow each other unbroken" in told
            other = await browser.get("/at/here/audit", instance="two")
            assert "Nothing was done to it" in other.text

    run(scenario)


def test_unfinished_instances_stand_in_groups_of_the_same_cause(url, run):
    async def scenario():
        app = shop(url)
        async with app, browsing(app) as browser:
            assert "All instances are finished" in (await browser.get("/at/here/causes")).text
        async with app, browsing(app) as browser:
            for number in range(3):
                handle = await app.client.workflow("approval").with_options(id=f"<b>{number}").start("book")
                while (await handle.state()).custom_status != {"step": "approval"}:
                    await asyncio.sleep(0)
            page = await browser.get("/at/here/causes")
            assert "&lt;b&gt;" in page.text
            told = text_of(page.text)
            assert "waits for the event 'approved'" in told
            assert "All 3 unfinished instances" in told
            one = text_of((await browser.get("/at/here/instance", id="<b>0")).text)
            assert "what it means" in one

    run(scenario)


def test_what_waits_for_its_next_attempt_is_tried_now(url, run):
    async def scenario():
        app = shop(url)
        async with app, browsing(app) as browser:
            handle = await app.client.workflow("reaching").with_options(id="one").start()
            while not any(wait.failure for wait in await handle.waits()):
                await asyncio.sleep(0)
            page = text_of((await browser.get("/at/here/instance", id="one")).text)
            assert "ConnectionError: try 1" in page
            assert "Retry now" in page
            await browser.get("/at/here/instance/retry", id="one")
            await browser.post("/at/here/instance/retry", {}, {"id": "one"})
            assert await handle.result() == 2

    run(scenario)


def test_a_failed_run_goes_on_where_it_failed(url, run):
    async def scenario():
        app = shop(url)
        async with app, browsing(app) as browser:
            failing = await app.client.workflow("refund").with_options(id="one").start("no")
            await asyncio.wait({asyncio.ensure_future(failing.result())})
            asked = await browser.get("/at/here/instance/rerun", id="one")
            assert "where it failed" in asked.text
            done = await browser.post("/at/here/instance/rerun", {"from": "", "id": "two"}, {"id": "one"})
            assert done.status_code == 303
            assert (await app.client.get("two").state()).name == "refund"

    run(scenario)


@pytest.mark.long
def test_a_long_history_is_read_page_by_page(url, run):
    async def scenario():
        app = shop(url)
        async with app, browsing(app) as browser:
            handle = await app.client.workflow("counting").with_options(id="one").start(450)
            await handle.result(timeout=30)
            page = await browser.get("/at/here/instance", id="one")
            later = page.text.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
            last = page.text.split('class="index">')[-1].split("<")[0]
            second = await browser.get(later)
            assert second.text.split('class="index">')[1].split("<")[0] == str(int(last) + 1)
            assert "RunCompleted" in second.text

    run(scenario)
