"""Every metric moves when its thing happens, as somebody sees it who scrapes a real port."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from perdure import App, Queue, Retry, continue_as_new, wait_for_event
from perdure.errors import InstanceNotFound, NotOpen
from perdure.history.work import Stall
from perdure.remote.exposition.families import FAMILIES, Kind, sample_names
from perdure.remote.http import HttpListener
from perdure.sdk.worker import LiveRun
from perdure.telemetry.metrics import ASIDE_MAX, NAMES_MAX, OTHER, Histogram, Metrics
from tests.remote.exposition.scrapes import OPENMETRICS, Scrape, scrape


def shop(url: str, **settings: Any) -> App:
    app = App("shop", store=url, **settings)
    app.gate = asyncio.Event()  # type: ignore[attr-defined]

    @app.activity
    async def pack(what: str) -> str:
        return what

    @app.activity(retry=Retry(max_attempts=3, initial_interval=0.001))
    async def fails() -> None:
        raise ValueError("no such luck")

    @app.activity
    async def held() -> None:
        await app.gate.wait()  # type: ignore[attr-defined]

    @app.activity(queue=Queue("line", concurrency=1))
    async def queued() -> None:
        await app.gate.wait()  # type: ignore[attr-defined]

    @app.activity
    async def items() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    @app.workflow
    async def one() -> str:
        return await pack("box")

    @app.workflow
    async def broken() -> None:
        await fails()

    @app.workflow
    async def naps() -> None:
        await asyncio.sleep(0.01)

    @app.workflow
    async def waits() -> None:
        await wait_for_event("go")
        await pack("late")

    @app.workflow
    async def again(left: int) -> None:
        await pack("box")
        if left:
            continue_as_new(left - 1)

    @app.workflow
    async def holds() -> None:
        await held()

    @app.workflow
    async def lines() -> None:
        await asyncio.gather(queued(), queued())

    @app.workflow
    async def streams() -> None:
        await items()

    @app.workflow
    async def stalls() -> None:
        while True:
            await asyncio.sleep(0)

    return app


Act = Callable[[App], Awaitable[Any]]


async def started(app: App, name: str, *args: Any, id: str = "it") -> Any:
    return await app.client.workflow(name).with_options(id=id).start(*args)


def ran(name: str, *args: Any) -> Act:
    async def act(app: App) -> None:
        handle = await started(app, name, *args)
        await asyncio.wait([asyncio.ensure_future(handle.result())])

    return act


def begun(name: str) -> Act:
    async def act(app: App) -> None:
        await started(app, name)

    return act


async def ended(handle: Any) -> None:
    while (await handle.state()).finished is None:
        await asyncio.sleep(0.005)


async def terminated(app: App) -> None:
    handle = await started(app, "waits")
    await handle.terminate()
    await ended(handle)


async def suspended(app: App) -> None:
    handle = await started(app, "waits")
    await handle.suspend("look")


async def cancelled(app: App) -> None:
    handle = await started(app, "waits")
    await handle.cancel()
    await ended(handle)


async def raised(app: App) -> None:
    handle = await started(app, "waits")
    await handle.raise_event("go")
    await handle.result()


async def not_there(app: App) -> None:
    with pytest.raises(InstanceNotFound):
        await app.client.get("nobody").state()


async def purged(app: App) -> None:
    handle = await started(app, "one")
    await handle.result()
    await handle.purge()


async def evicted(app: App) -> None:
    """More instances than have room, and the first is wanted again."""
    first = await started(app, "waits", id="first")
    for number in range(8):
        await started(app, "waits", id=f"i{number}")
    await first.raise_event("go")
    await first.result()


async def stood_still(app: App) -> None:
    handle = await started(app, "stalls")
    while (await handle.state()).stalled is None:
        await asyncio.sleep(0.005)


EXECUTION = "dapr_runtime_workflow_execution_count"
OPERATION = "dapr_runtime_workflow_operation_count"
ATTEMPT = "dapr_runtime_workflow_activity_execution_count"
TABLE: list[tuple[Act, str, dict[str, str], float]] = [
    (ran("one"), EXECUTION, {"workflow_name": "one", "status": "success"}, 1),
    (ran("one"), "dapr_runtime_workflow_execution_latency_count", {"workflow_name": "one", "status": "success"}, 1),
    (ran("one"), "dapr_runtime_workflow_scheduling_latency_count", {"workflow_name": "one"}, 1),
    (ran("broken"), EXECUTION, {"workflow_name": "broken", "status": "failed"}, 1),
    (terminated, EXECUTION, {"workflow_name": "waits", "status": "terminated"}, 1),
    (cancelled, EXECUTION, {"workflow_name": "waits", "status": "canceled"}, 1),
    (stood_still, EXECUTION, {"workflow_name": "stalls", "status": "recoverable"}, 1),
    (stood_still, "perdure_workflow_stalls_total", {"workflow_name": "stalls", "reason": "turn-too-long"}, 1),
    (ran("one"), OPERATION, {"operation": "create_workflow", "status": "success"}, 1),
    (ran("one"), "dapr_runtime_workflow_operation_latency_count", {"operation": "create_workflow"}, 1),
    (raised, OPERATION, {"operation": "add_event", "status": "success"}, 1),
    (not_there, OPERATION, {"operation": "get_workflow", "status": "failed"}, 1),
    (purged, OPERATION, {"operation": "purge_workflow", "status": "success"}, 1),
    (terminated, OPERATION, {"operation": "terminate_workflow", "status": "success"}, 1),
    (ran("one"), ATTEMPT, {"activity_name": "pack", "status": "success"}, 1),
    (ran("broken"), ATTEMPT, {"activity_name": "fails", "status": "failed"}, 3),
    (ran("broken"), "perdure_activity_retries_total", {"activity_name": "fails"}, 2),
    (ran("one"), "dapr_runtime_workflow_activity_execution_latency_count", {"activity_name": "pack"}, 1),
    (ran("one"), "perdure_activity_schedule_to_start_seconds_count", {"activity_name": "pack"}, 1),
    (ran("one"), "perdure_workflows_started_total", {"workflow_name": "one"}, 1),
    (ran("again", 2), "perdure_workflows_continued_total", {"workflow_name": "again"}, 2),
    (ran("again", 2), "perdure_workflow_history_events_count", {"workflow_name": "again"}, 3),
    (ran("one"), "perdure_workflow_turn_seconds_count", {"workflow_name": "one"}, 2),
    (ran("one"), "perdure_workflow_cache_hits_total", {"workflow_name": "one"}, 1),
    (evicted, "perdure_workflow_replays_total", {"workflow_name": "waits"}, 1),
    (evicted, "perdure_activations", {}, 3),
    (ran("naps"), "perdure_timer_lateness_seconds_count", {}, 1),
    (ran("streams"), "perdure_stream_items_total", {}, 3),
    (begun("holds"), "perdure_slots_busy", {}, 1),
    (begun("holds"), "perdure_slots", {}, 7),
    (begun("holds"), "perdure_workflows_unfinished", {}, 1),
    (begun("holds"), "perdure_waiting", {"reason": "activity_or_queue"}, 1),
    (begun("lines"), "perdure_waiting", {"reason": "activity_or_queue"}, 2),
    (begun("waits"), "perdure_waiting", {"reason": "activity_or_queue"}, 0),
    (begun("waits"), "perdure_activations_waiting", {"reason": "event"}, 1),
    (begun("holds"), "perdure_activations_waiting", {"reason": "activity"}, 1),
    (suspended, "perdure_activations_waiting", {"reason": "suspended"}, 1),
    (begun("waits"), "perdure_shards", {}, 1),
    (begun("waits"), "perdure_nodes", {}, 1),
    (begun("waits"), "perdure_lease_changes_total", {"change": "acquired"}, 1),
    (begun("waits"), "perdure_activations_max", {}, 4),
]


@asynccontextmanager
async def scraped(url: str, act: Act | None = None) -> AsyncIterator[str]:
    async with shop(url, slots=7, activations_max=4) as app, HttpListener(app.metrics, port=0) as listener:
        if act is not None:
            await act(app)
        yield f"http://127.0.0.1:{listener.port}/metrics"
        app.gate.set()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "act,name,labels,expected", TABLE, ids=[f"{name}-{'-'.join(labels.values())}" for _, name, labels, _ in TABLE]
)
def test_it_moves(run, url, act, name, labels, expected):
    async def scenario() -> tuple[float, float]:
        async with scraped(url, act) as place:
            found = await scrape(place)
            return found.value(name, app_id="shop", **labels), found.value(name, app_id="other")

    assert run(scenario) == (expected, 0)


def test_reasons_of_stalls_that_a_worker_makes_up_are_counted_together(run, url, monkeypatch):
    numbers = itertools.count()
    monkeypatch.setattr(LiveRun, "_stall", lambda *_: Stall(f"stranger {next(numbers)}", "of another SDK"))

    async def act(app: App) -> None:
        for id in ("first", "second"):
            handle = await started(app, "stalls", id=id)
            while (await handle.state()).stalled is None:
                await asyncio.sleep(0.005)

    async def scenario() -> Scrape:
        async with scraped(url, act) as place:
            return await scrape(place)

    found = run(scenario)
    reasons = {has["reason"] for name, has, _ in found.samples() if name == "perdure_workflow_stalls_total"}
    assert reasons == {"other"}
    assert found.value("perdure_workflow_stalls_total", workflow_name="stalls") == 2
    assert next(numbers) == 2


def test_messages_of_topics_are_counted_by_group_and_what_is_left_is_told(run, url):
    app, gate = App("shop", store=url), asyncio.Event()

    @app.subscribe("orders", retry=Retry(max_attempts=2, initial_interval=0.001), dead_letter="graveyard")
    async def bill(number: int) -> None:
        if number < 0:
            raise ValueError("below zero")

    @app.subscribe("orders", group="desk")
    async def desk(number: int) -> None:
        if number == 7:
            await gate.wait()

    async def left() -> list[int]:
        return [group.left for topic in await app.client.topics() if topic.name == "orders" for group in topic.groups]

    async def scenario() -> Scrape:
        async with app, HttpListener(app.metrics, port=0) as listener:
            for number in (1, -1, 7):
                await app.client.publish("orders", number)
            while await left() != [0, 1]:
                await asyncio.sleep(0.005)
            found = await scrape(f"http://127.0.0.1:{listener.port}/metrics")
            gate.set()
            return found

    found = run(scenario)
    of_bill, of_desk = ({"topic": "orders", "group": group} for group in ("bill", "desk"))
    assert found.value("perdure_topic_published_total", topic="orders") == 3
    assert [found.value("perdure_topic_delivered_total", **each) for each in (of_bill, of_desk)] == [2, 2]
    assert [found.value("perdure_topic_failed_total", **each) for each in (of_bill, of_desk)] == [1, 0]
    assert [found.value("perdure_topic_dead_total", **each) for each in (of_bill, of_desk)] == [1, 0]
    assert [found.value("perdure_topic_left", **each) for each in (of_bill, of_desk)] == [0, 1]
    assert found.value("perdure_topic_left", topic="graveyard", group="") == 1
    assert found.value("perdure_topic_oldest_seconds", **of_bill) == 0
    assert 0 < found.value("perdure_topic_oldest_seconds", **of_desk) < 60


def test_commits_are_timed_and_their_turns_counted(run, url):
    async def act(app: App) -> None:
        await asyncio.gather(*(ran_as(app, f"i{number}") for number in range(10)))

    async def ran_as(app: App, id: str) -> None:
        await (await started(app, "one", id=id)).result()

    async def scenario() -> Scrape:
        async with scraped(url, act) as place:
            return await scrape(place)

    found = run(scenario)
    commits = found.value("perdure_commit_seconds_count", status="success")
    assert 2 <= commits < 20  # because turns of ten share them
    assert found.value("perdure_commit_turns_count") == commits
    assert found.value("perdure_commit_turns_sum") == 20
    assert 0 < found.value("perdure_commit_seconds_sum") < 30


def test_latencies_of_dapr_are_in_milliseconds_and_the_others_in_seconds(run, url):
    async def scenario() -> Scrape:
        async with scraped(url, ran("naps")) as place:
            return await scrape(place)

    found = run(scenario)
    assert 10 <= found.value("dapr_runtime_workflow_execution_latency_sum", workflow_name="naps") < 10_000
    assert 0 < found.value("perdure_workflow_turn_seconds_sum", workflow_name="naps") < 10
    counted = found.value("perdure_workflow_turn_seconds_bucket", workflow_name="naps", le="+Inf")
    assert counted == found.value("perdure_workflow_turn_seconds_count", workflow_name="naps") == 2


def test_who_asks_for_openmetrics_gets_it(run, url):
    async def scenario() -> tuple[Scrape, Scrape]:
        async with scraped(url, ran("one")) as place:
            return await scrape(place), await scrape(place, OPENMETRICS)

    plain, openmetrics = run(scenario)
    assert plain.content_type.startswith("text/plain")
    assert openmetrics.content_type.startswith("application/openmetrics-text")
    for found in (plain, openmetrics):
        assert found.value(EXECUTION, workflow_name="one", status="success", namespace="default") == 1
        assert found.value("perdure_workflows_started_total", workflow_name="one") == 1
        assert found.value("process_resident_memory_bytes") > 1_000_000


def test_the_page_holds_the_table_and_nothing_else_of_ours(run, url):
    async def act(app: App) -> None:
        await ran("one")(app)

    async def scenario() -> Scrape:
        async with scraped(url, act) as place:
            return await scrape(place, OPENMETRICS)

    found = run(scenario)
    ours = {name: family for name, family in found.families.items() if name.startswith(("perdure_", "dapr_"))}
    assert set(ours) == {family.name for family in FAMILIES}
    for family in FAMILIES:
        assert ours[family.name].type == family.kind
        assert ours[family.name].documentation == family.help
        for sample in ours[family.name].samples:
            assert sample.name in sample_names(family)
            assert set(sample.labels) - {"le"} == set(family.all_labels)


def test_its_namespace_is_that_of_the_pod(run, url, monkeypatch):
    monkeypatch.setenv("NAMESPACE", "prod")

    async def scenario() -> Scrape:
        async with scraped(url, ran("one")) as place:
            return await scrape(place)

    assert run(scenario).value(EXECUTION, namespace="prod") == 1


def test_the_text_is_there_without_a_port(run, url):
    async def scenario() -> str:
        async with shop(url) as app:
            await ran("one")(app)
            return await app.metrics.text()

    assert 'perdure_workflows_started_total{app_id="shop",workflow_name="one"} 1.0' in run(scenario)


def test_an_app_that_is_not_open_says_so(run, url):
    async def scenario() -> tuple[int, str]:
        import httpx

        app = shop(url)
        with pytest.raises(NotOpen, match="open it"):
            await app.metrics.text()
        async with HttpListener(app.metrics, port=0) as listener, httpx.AsyncClient(trust_env=False) as browser:
            answer = await browser.get(f"http://127.0.0.1:{listener.port}/metrics")
            return answer.status_code, answer.text

    status, text = run(scenario)
    assert status == 503
    assert "open it" in text


def test_an_app_may_count_nothing(run, url):
    async def scenario() -> None:
        async with shop(url, metrics=False) as app:
            await ran("one")(app)
            with pytest.raises(NotOpen, match="metrics=False"):
                await app.metrics.text()

    run(scenario)


def test_names_beyond_the_bound_are_counted_together():
    metrics = Metrics()
    for number in range(NAMES_MAX + 50):
        metrics.workflow(f"w{number}").continued += 1
        metrics.activity(f"a{number}").retries += 1
    assert len(metrics.workflows) == len(metrics.activities) == NAMES_MAX + 1
    assert metrics.workflows[OTHER].continued == metrics.activities[OTHER].retries == 50
    assert metrics.workflow("w0").continued == 1


def test_a_histogram_counts_what_is_at_most_each_bound():
    histogram = Histogram((10, 20))
    for value in (-5, 10, 11, 20, 21, 1_000):
        histogram.observe(value)
    assert (histogram.counts, histogram.total, histogram.count) == ([2, 2, 2], 1_062, 6)


def test_what_is_put_aside_is_bounded():
    metrics = Metrics()
    turns = metrics.workflow("w").turns
    for number in range(3 * ASIDE_MAX):
        turns.add(number)
        metrics.lateness.add(number)
        metrics.added(1)
        metrics.sizes.observe(1)
        assert len(turns._aside) <= ASIDE_MAX
        assert len(metrics.sizes._aside) <= ASIDE_MAX
    assert turns.count == metrics.lateness.count == metrics.sizes.count == 3 * ASIDE_MAX


def test_every_family_has_a_sentence_and_no_name_twice():
    names = [name for family in FAMILIES for name in sample_names(family)]
    assert len(names) == len(set(names))
    for family in FAMILIES:
        assert family.help.endswith("."), family.name
        assert not family.name.endswith("_total"), family.name
        assert family.is_dapr or family.kind is not Kind.UNTYPED
