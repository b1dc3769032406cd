"""Spans at a receiver of OTLP: whose they are, what their parents are, and what they tell."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace as api
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Proto
from opentelemetry.proto.trace.v1.trace_pb2 import Status as ProtoStatus
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from perdure import App, Client, Retry, Tracing, activity_context, continue_as_new, wait_for_event
from perdure.codec import encode
from perdure.errors import InvalidArgument
from perdure.history.options import Trace
from perdure.history.work import StartOptions
from perdure.stores.memory import MemoryStore
from perdure.telemetry.trace_context import is_chosen, parse
from tests.remote.tracing.receiver import Receiver, receiving

SERVER, CLIENT, INTERNAL = Proto.SPAN_KIND_SERVER, Proto.SPAN_KIND_CLIENT, Proto.SPAN_KIND_INTERNAL


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def exporter(receiver: Receiver) -> OTLPSpanExporter:
    return OTLPSpanExporter(f"{receiver.url}/v1/traces")


@pytest.fixture
def tracer(receiver: Receiver) -> Iterator[api.Tracer]:
    """What the program's own spans are made with, which go to the same place."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter(receiver)))
    yield provider.get_tracer("the user's")
    provider.shutdown()


def shop(store: Any, tracing: Tracing | None, tracer: api.Tracer | None = None, id: str = "shop") -> App:
    app = App(id, store=store, tracing=tracing)
    app.told = []  # type: ignore[attr-defined]

    @app.activity
    async def pack(what: str) -> str:
        app.told.append(activity_context().traceparent)  # type: ignore[attr-defined]
        if tracer is not None:
            with tracer.start_as_current_span(f"own of {what}"):
                await asyncio.sleep(0)
        return what

    @app.activity
    def threaded() -> None:
        assert tracer is not None
        with tracer.start_as_current_span("own of a thread"):
            """Nothing more."""

    @app.activity(retry=Retry(max_attempts=2, initial_interval=0.001))
    async def fails() -> None:
        raise ValueError("no such luck")

    @app.workflow
    async def one() -> str:
        return await pack("box")

    @app.workflow
    async def in_thread() -> None:
        await threaded()

    @app.workflow
    async def broken() -> None:
        await fails()

    @app.workflow
    async def parent() -> str:
        return await one.with_options(id="child")()

    @app.workflow
    async def far() -> str:
        return await one.with_options(id="child", app_id="other")()

    @app.workflow
    async def again(left: int) -> None:
        await pack(f"box {left}")
        if left:
            continue_as_new(left - 1)

    @app.workflow
    async def waits() -> None:
        await wait_for_event("go")
        await asyncio.sleep(0.001)
        await pack("late")

    return app


def traced(run: Any, url: str, receiver: Receiver, name: str, *args: Any, **more: Any) -> Receiver:
    """The receiver after a workflow has run."""

    async def scenario() -> None:
        async with shop(url, Tracing(exporter=exporter(receiver)), **more) as app:
            handle = await app.client.workflow(name).with_options(id="it").start(*args)
            if name == "waits":
                await handle.suspend("look")
                await handle.resume()
                await handle.raise_event("go", {"a": 1})
            await asyncio.wait([asyncio.ensure_future(handle.result())])

    run(scenario)
    return receiver


def test_a_run_and_its_activity_are_nested(run, url, receiver):
    traced(run, url, receiver, "one")
    ran, packed = map(receiver.one, ("orchestration||one", "activity||pack"))
    assert len(receiver.spans) == 2
    assert ran.trace == packed.trace
    assert (ran.parent, packed.parent) == ("", ran.id)
    assert (ran.kind, packed.kind) == (SERVER, SERVER)
    assert ran.start <= packed.start <= packed.end <= ran.end
    assert {span.service for span in receiver.spans} == {"shop"}
    assert {span.scope for span in receiver.spans} == {"perdure"}
    assert ran.attributes == {
        "durabletask.type": "orchestration",
        "durabletask.task.name": "one",
        "durabletask.task.instance_id": "it",
        "durabletask.runtime_status": "completed",
    }
    assert packed.attributes == {
        "durabletask.type": "activity",
        "durabletask.task.name": "pack",
        "durabletask.task.instance_id": "it",
        "durabletask.task.task_id": packed.attributes["durabletask.task.task_id"],
    }


def test_spans_of_the_users_own_nest_on_both_sides(run, url, receiver, tracer):
    async def scenario() -> list[str]:
        async with shop(url, Tracing(0.0, exporter=exporter(receiver)), tracer) as app:
            with tracer.start_as_current_span("request"):
                handle = await app.client.workflow("one").with_options(id="it").start()
            await handle.result()
            await app.client.workflow("in_thread").with_options(id="quiet").start()
            return app.told

    (told,) = run(scenario)
    request, start, ran, packed, own = map(
        receiver.one,
        ("request", "create_orchestration||one", "orchestration||one", "activity||pack", "own of box"),
    )
    assert {span.trace for span in (request, start, ran, packed, own)} == {request.trace}
    assert [start.parent, ran.parent, packed.parent, own.parent] == [request.id, start.id, ran.id, packed.id]
    assert told == f"00-{request.trace}-{packed.id}-01"
    assert start.kind == CLIENT
    assert request.start <= start.start <= start.end <= ran.end
    assert not [span for span in receiver.spans if span.attributes.get("durabletask.task.instance_id") == "quiet"]


def test_the_span_is_current_in_the_thread_of_an_activity(run, url, receiver, tracer):
    traced(run, url, receiver, "in_thread", tracer=tracer)
    assert receiver.one("own of a thread").parent == receiver.one("activity||threaded").id


def test_a_child_is_part_of_its_parents_run(run, url, receiver):
    traced(run, url, receiver, "parent")
    parent, child, packed = map(receiver.one, ("orchestration||parent", "orchestration||one", "activity||pack"))
    assert (child.trace, child.parent, packed.parent) == (parent.trace, parent.id, child.id)


def test_a_child_in_another_app_is_too(run, receiver):
    async def scenario() -> None:
        tracing, store = Tracing(exporter=exporter(receiver)), MemoryStore()
        here = shop(store, tracing)
        async with shop(store, tracing, id="other"), here:
            handle = await here.client.workflow("far").with_options(id="it").start()
            await handle.result()

    run(scenario)
    far, child = receiver.one("orchestration||far"), receiver.one("orchestration||one")
    assert (child.trace, child.parent, far.service, child.service) == (far.trace, far.id, "shop", "other")


def test_each_generation_is_a_trace_of_its_own_linked_to_the_one_before(run, url, receiver):
    traced(run, url, receiver, "again", 2)
    first, second, third = (receiver.one("orchestration||again", **{"perdure.run": run}) for run in (1, 2, 3))
    assert len({first.trace, second.trace, third.trace}) == 3
    assert first.links == []
    assert second.links == [(first.trace, first.id)]
    assert third.links == [(second.trace, second.id)]
    assert (second.parent, third.parent) == ("", "")
    statuses = [span.attributes["durabletask.runtime_status"] for span in (first, second, third)]
    assert statuses == ["continued", "continued", "completed"]
    packed = {span.trace: span.parent for span in receiver.spans if span.name == "activity||pack"}
    assert packed == {first.trace: first.id, second.trace: second.id, third.trace: third.id}


def test_events_and_timers_are_told(run, url, receiver):
    traced(run, url, receiver, "waits")
    ran, timer = receiver.one("orchestration||waits"), receiver.one("timer")
    assert (timer.parent, timer.kind) == (ran.id, INTERNAL)
    assert timer.attributes["durabletask.fire_at"].endswith("+00:00")
    assert [name for name, _ in ran.moments] == ["Execution suspended", "Execution resumed", "Received external event"]
    assert ran.moments[-1][1] == {"name": "go", "size": 7}


def test_failures_are_errors(run, url, receiver):
    traced(run, url, receiver, "broken")
    for name in ("orchestration||broken", "activity||fails"):
        status = receiver.one(name).proto.status
        assert status.code == ProtoStatus.STATUS_CODE_ERROR
        assert "no such luck" in status.message
    assert receiver.one("activity||fails").attributes["perdure.attempt"] == 2
    assert receiver.one("orchestration||broken").attributes["durabletask.runtime_status"] == "failed"


def test_a_run_that_was_out_of_memory_tells_all_of_it(run, url, receiver):
    async def scenario() -> None:
        async with shop(url, Tracing(exporter=exporter(receiver))) as app:
            await app.client.workflow("waits").with_options(id="it").start()
        async with shop(url, Tracing(exporter=exporter(receiver))) as app:
            handle = app.client.get("it")
            await handle.raise_event("go")
            await handle.result()

    run(scenario)
    assert receiver.one("activity||pack").parent == receiver.one("orchestration||waits").id
    assert {span.name for span in receiver.spans} >= {"timer", "activity||pack"}


@pytest.mark.long
def test_a_share_of_runs_is_traced_each_whole_or_not_at_all(run, url, receiver):
    async def scenario() -> None:
        async with shop(url, Tracing(0.3, exporter=exporter(receiver))) as app:
            workflow = app.client.workflow("one")
            handles = [await workflow.with_options(id=f"i{number}").start() for number in range(200)]
            for handle in handles:
                await handle.result()

    run(scenario)
    traces = {span.trace for span in receiver.spans}
    assert 25 <= len(traces) <= 100
    assert len(receiver.spans) == 2 * len(traces)


def test_who_is_traced_follows_from_the_trace_alone():
    ids = [f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}" for number in range(1, 2_001)]
    chosen = [id for id in ids if is_chosen(id, 0.1)]
    assert 120 < len(chosen) < 280
    assert set(chosen) <= {id for id in ids if is_chosen(id, 0.2)}
    assert not any(is_chosen(id, 0) for id in ids)
    assert all(is_chosen(id, 1) for id in ids)


@pytest.mark.parametrize(
    "text",
    ["", "00-0-0-01", f"00-{'0' * 32}-{'1' * 16}-01", f"00-{'1' * 32}-{'0' * 16}-01", f"ff-{'1' * 32}-{'1' * 16}-01",
     f"00-{'A' * 32}-{'1' * 16}-01"],
)  # fmt: skip
def test_what_is_no_traceparent_is_none(text):
    assert parse(text) is None


def test_a_traceparent_of_a_later_version_is_understood():
    found = parse(f"cc-{'1' * 32}-{'2' * 16}-03-what-the-future-brings")
    assert found is not None
    assert found.traceparent == f"00-{'1' * 32}-{'2' * 16}-01"


def test_without_tracing_nothing_is_kept(run, url):
    async def scenario() -> list[Any]:
        async with shop(url, None) as app:
            handle = await app.client.workflow("one").with_options(id="it").start()
            await handle.result()
            return [*app.told, *[event async for event in handle.history()]]

    told, *events = run(scenario)
    assert told is None
    assert all(getattr(event, "trace", None) is None for event in events)


def test_a_share_is_between_0_and_1():
    with pytest.raises(InvalidArgument, match="from 0 to 1"):
        Tracing(1.5)


def test_a_run_that_another_process_has_started_is_traced_as_well(run, url, receiver):
    async def scenario() -> None:
        async with Client(url, app_id="shop") as client:
            await client.workflow("one").with_options(id="it").start()
        async with shop(url, Tracing(exporter=exporter(receiver))) as app:
            await app.client.get("it").result()

    run(scenario)
    assert receiver.one("activity||pack").parent == receiver.one("orchestration||one").id


def test_a_run_of_a_caller_that_is_not_recorded_is_not_either(run, url, receiver):
    async def scenario() -> list[str]:
        async with shop(url, Tracing(exporter=exporter(receiver))) as app:
            options = StartOptions(trace=Trace(parent=f"00-{'1' * 32}-{'2' * 16}-00"))
            id, _ = await app.client.gateway.start("one", encode([[], {}]), options)
            await app.client.get(id).result()
            return app.told

    (told,) = run(scenario)
    assert told.startswith(f"00-{'1' * 32}-")
    assert told.endswith("-00")
    assert receiver.spans == []
