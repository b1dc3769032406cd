"""What clients of both protocols call about instances: starts and their policies, lists, histories, removal, reruns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from perdure.history.actions import (
    CompleteRun,
    ContinueRun,
    CreateChild,
    CreateDetached,
    CreateTimer,
    ReportMissingVersion,
    ScheduleActivity,
    SendEvent,
)
from perdure.history.events import Failure, RunStalled, RunStarted
from perdure.history.options import Trace
from perdure.remote.requests import AboutInstance, Capability, Rerun
from perdure.remote.rpc.instances import fault_of_policy
from perdure.remote.server import Server
from perdure.remote.wire.codec import DAPR, MICROSOFT, Codec
from perdure.remote.wire.instance_requests import RERUN
from perdure.remote.wire.schema import DAPR_SCHEMA, MICROSOFT_SCHEMA
from perdure.remote.wire.statuses import STATUSES
from tests.remote.peer import SERVICE, Peer, events, json, names, text, until
from tests.remote.test_server import CHARGE, DONE, _is, port, serving

CODE = grpc.StatusCode
MS = MICROSOFT_SCHEMA
Test = Callable[[Server, Peer], Awaitable[None]]


def scene(codec: Codec = DAPR, *metadata: tuple[str, str]) -> Callable[[Test], Callable[[Path], None]]:
    """A test with a server and a peer that is connected to it."""

    def decorate(test: Test) -> Callable[[Path], None]:
        def run(tmp_path: Path) -> None:
            async def play() -> None:
                async with serving(tmp_path) as server, Peer(port(server), codec, metadata) as peer:
                    await test(server, peer)

            asyncio.run(play())

        run.__name__ = test.__name__
        return run

    return decorate


async def refused(work: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await work
    return error.value.code(), error.value.details() or ""


def message(name: str, schema: Any = MS, /, **fields: Any) -> bytes:
    data: bytes = getattr(schema, name)(**fields).SerializeToString()
    return data


async def done(peer: Peer, work: Any, *ids: str, name: str = "checkout") -> None:
    """Instances that are begun and end at once."""
    for id in ids:
        await peer.start(name, id)
        await peer.answer(await work.turn(), DONE)
        await peer.ended(id)


# -- starts -----------------------------------------------------------------------------------------------------------


def start_of(id: str, *replaceable: str) -> bytes:
    policy = {"replaceableStatus": [STATUSES[word] for word in replaceable]}
    return message("CreateInstanceRequest", instanceId=id, name="checkout", workflowIdReusePolicy=policy)


@scene(MICROSOFT)
async def test_a_policy_says_which_instances_a_start_replaces(server: Server, peer: Peer) -> None:
    work = peer.work(turns_max=10)
    await done(peer, work, "order")
    assert (await refused(peer.call("StartInstance", start_of("order", "failed"))))[0] == CODE.ALREADY_EXISTS
    await peer.call("StartInstance", start_of("order", "completed", "failed"))
    running = await work.turn()
    assert (await refused(peer.call("StartInstance", start_of("order", "completed"))))[0] == CODE.ALREADY_EXISTS
    await peer.answer(running)
    await until(lambda: _is(peer, "order", lambda view: view.status == "running"))
    await peer.call("StartInstance", start_of("order", "running", "terminated"))
    again = await work.turn()
    assert again.execution != running.execution
    await peer.answer(again)
    await peer.suspend("order")
    await until(lambda: _is(peer, "order", lambda view: view.is_suspended))
    assert (await refused(peer.call("StartInstance", start_of("order", "terminated"))))[0] == CODE.ALREADY_EXISTS
    code, words = await refused(peer.call("StartInstance", start_of("order", "running")))
    assert (code, "Invalid reusable statuses" in words) == (CODE.INVALID_ARGUMENT, True)


def test_a_policy_that_replaces_what_runs_replaces_what_was_terminated() -> None:
    assert fault_of_policy(None) is None
    assert fault_of_policy(frozenset()) is None
    assert fault_of_policy(frozenset(("completed",))) is None
    assert fault_of_policy(frozenset(("running", "terminated"))) is None
    for status in ("running", "pending", "suspended"):
        assert "Terminated" in (fault_of_policy(frozenset((status, "completed"))) or "")


@pytest.mark.parametrize("metadata, is_replaced", [((), True), ((("taskhub", "default"),), False)])
def test_a_finished_instance_is_replaced_unless_the_client_is_known_as_microsoft_s(
    metadata: tuple[tuple[str, str], ...], is_replaced: bool, tmp_path: Path
) -> None:
    @scene(DAPR if is_replaced else MICROSOFT, *metadata)
    async def test(server: Server, peer: Peer) -> None:
        work = peer.work(turns_max=1)
        await done(peer, work, "order")
        if is_replaced:
            await peer.start("checkout", "order")
            assert (await refused(peer.start("checkout", "order")))[0] == CODE.ALREADY_EXISTS
        else:
            assert (await refused(peer.start("checkout", "order")))[0] == CODE.ALREADY_EXISTS

    test(tmp_path)


@scene()
async def test_an_id_that_must_be_new_is_none_that_was_used(server: Server, peer: Peer) -> None:
    work = peer.work()
    await done(peer, work, "order")
    assert (await refused(peer.start("checkout", "order", must_be_new=True)))[0] == CODE.ALREADY_EXISTS
    assert await peer.start("checkout", "other", must_be_new=True)


@pytest.mark.long
@scene()
async def test_a_start_that_lies_ahead_is_pending_and_keeps_what_comes_meanwhile(server: Server, peer: Peer) -> None:
    work = peer.work()
    soon = server.hosted.clock.now() + 1_000_000
    id = await peer.start("checkout", "later", scheduled=soon)
    await peer.raised(id, "paid", "1")
    view = await peer.view(id)
    assert view is not None
    assert (view.status, view.scheduled) == ("pending", soon)
    waiting = asyncio.create_task(peer.view(id, "WaitForInstanceStart"))
    turn = await work.turn()
    assert names(peer, turn) == ["TurnStarted", "RunStarted", "EventRaised"]
    assert not waiting.done()
    await peer.answer(turn, DONE)
    begun = await waiting
    assert begun is not None
    assert (begun.status != "pending", begun.scheduled) == (True, soon)


@scene()
async def test_a_turn_has_the_time_at_which_it_is_handed_out(server: Server, peer: Peer) -> None:
    first = peer.work()
    id = await peer.start("checkout")
    lost = await first.turn()
    first.leave()
    await until(lambda: not server.hosted.dispatcher.streams)
    await asyncio.sleep(0.05)
    now = server.hosted.clock.now()
    again = await peer.work().turn()
    assert events(peer, lost)[0].at < now <= events(peer, again)[0].at
    await peer.answer(again, DONE)
    view = await peer.ended(id)
    assert view.finished == events(peer, again)[0].at
    assert (await history(peer, id))[0].at == events(peer, again)[0].at


@scene(MICROSOFT)
async def test_a_start_of_1970_is_a_start_of_now(server: Server, peer: Peer) -> None:
    work = peer.work(turns_max=1)
    await peer.start("checkout", scheduled=0)
    turn = await work.turn()
    assert events(peer, turn)[0].at > 1_000_000


# -- looking ----------------------------------------------------------------------------------------------------------


async def query(peer: Peer, **fields: Any) -> tuple[list[str], str | None]:
    data = await peer.call("QueryInstances", message("QueryInstancesRequest", query=fields))
    page = MS.QueryInstancesResponse.FromString(data)
    token = page.continuationToken.value if page.HasField("continuationToken") else None
    return [state.instanceId for state in page.workflowState], token


@scene(MICROSOFT)
async def test_a_query_gives_pages_until_there_is_no_token(server: Server, peer: Peer) -> None:
    work = peer.work(turns_max=10)
    await done(peer, work, *(f"order-{number}" for number in range(5)))
    await done(peer, work, "other-1")
    seen: list[str] = []
    token: str | None = None
    tokens = []
    while True:
        more = {"continuationToken": {"value": token}} if token is not None else {}
        page, token = await query(peer, instanceIdPrefix={"value": "order-"}, maxInstanceCount=2, **more)
        assert len(page) <= 2
        seen += page
        if token is None:
            break
        tokens.append(token)
    assert sorted(seen) == [f"order-{number}" for number in range(5)]
    assert len(set(tokens)) == len(tokens)
    for end in ("", "0"):
        assert len((await query(peer, continuationToken={"value": end}))[0]) == 6


@scene(MICROSOFT)
async def test_a_query_for_a_status_gives_those_that_are_shown_with_it(server: Server, peer: Peer) -> None:
    work = peer.work(turns_max=10)
    await done(peer, work, "ended")
    for id in ("runs", "rests"):
        await peer.start("checkout", id)
        await peer.answer(await work.turn())
    await peer.suspend("rests")
    await until(lambda: _is(peer, "rests", lambda view: view.is_suspended))

    async def ids(*words: str) -> set[str]:
        return set((await query(peer, runtimeStatus=[STATUSES[word] for word in words]))[0])

    assert await ids("suspended") == {"rests"}
    assert await ids("running") == {"runs"}
    assert await ids("running", "completed") == {"runs", "ended"}
    assert await ids("continued") == set()
    assert await ids("failed") == set()


@scene(MICROSOFT)
async def test_ids_of_finished_instances_come_in_the_order_of_their_ends(server: Server, peer: Peer) -> None:
    work = peer.work(turns_max=10)
    await peer.start("checkout", "open")
    await work.turn()
    await done(peer, work, "c", "a", "b")

    async def page(**fields: Any) -> Any:
        data = await peer.call("ListInstanceIds", message("ListInstanceIdsRequest", **fields))
        return MS.ListInstanceIdsResponse.FromString(data)

    first = await page(pageSize=2)
    assert list(first.instanceIds) == ["c", "a"]
    rest = await page(pageSize=2, lastInstanceKey={"value": first.lastInstanceKey.value})
    assert (list(rest.instanceIds), rest.HasField("lastInstanceKey")) == (["b"], False)
    assert list((await page(runtimeStatus=[STATUSES["running"]])).instanceIds) == []


@scene()
async def test_ids_of_all_instances_come_in_pages(server: Server, peer: Peer) -> None:
    for id in ("a", "b", "c"):
        await peer.start("checkout", id)
    seen: list[str] = []
    token: str | None = None
    while True:
        more = {"continuationToken": token} if token is not None else {}
        data = await peer.call("ListInstanceIDs", message("ListInstanceIDsRequest", DAPR_SCHEMA, pageSize=2, **more))
        page = DAPR_SCHEMA.ListInstanceIDsResponse.FromString(data)
        seen += page.instanceIds
        if not page.HasField("continuationToken"):
            break
        token = page.continuationToken
    assert sorted(seen) == ["a", "b", "c"]


async def history(peer: Peer, id: str) -> list[Any]:
    data = await peer.call("GetInstanceHistory", peer.codec.peer.write_about(AboutInstance(instance=id)))
    return [peer.codec.read_event(event) for event in peer.codec.peer.read_history(data)]


@scene()
async def test_a_stall_is_told_with_its_reason_while_it_lasts_and_events_wait_for_its_end(
    server: Server, peer: Peer
) -> None:
    old = peer.work()
    id = await peer.start("checkout")
    await peer.answer(await old.turn(), CHARGE)
    await peer.finish(await old.activity(), "1")
    await peer.answer(await old.turn(), ReportMissingVersion(number=-1))
    await until(lambda: _is(peer, id, lambda view: view.is_stalled))
    last = (await history(peer, id))[-1]
    assert isinstance(last, RunStalled)
    assert last.reason == "version-not-available"
    assert "version" in (last.description or "")
    await peer.raised(id, "paid", "1")
    old.leave()
    new = peer.work()
    turn = await new.turn()
    assert names(peer, turn) == ["TurnStarted", "ActivityCompleted", "EventRaised"]
    assert not any(isinstance(event, RunStalled) for event in await history(peer, id))
    await peer.answer(turn, DONE)
    assert (await peer.ended(id)).status == "completed"


@scene()
async def test_a_patch_that_code_no_longer_asks_for_stalls_its_run(server: Server, peer: Peer) -> None:
    work = peer.work()
    id = await peer.start("checkout")
    await peer.answer(await work.turn(), CHARGE, version="v1", patches=["one"])
    await peer.finish(await work.activity(), "1")
    second = await work.turn()
    begun = events(peer, second, "past")[0]
    assert (begun.version, begun.patches) == ("v1", ["one"])
    await peer.answer(second, DONE, version="v1", patches=["two"])
    await until(lambda: _is(peer, id, lambda view: view.is_stalled))
    assert (await history(peer, id))[-1].reason == "patch-mismatch"
    work.leave()
    work = peer.work()
    await peer.answer(await work.turn(), DONE, version="v1", patches=["one", "two"])
    assert (await peer.ended(id)).status == "completed"


@pytest.mark.long
@scene(MICROSOFT)
async def test_a_history_of_ten_thousand_events_is_streamed_in_chunks(server: Server, peer: Peer) -> None:
    work = peer.work(turns_max=1)
    id = await peer.start("checkout")
    far = server.hosted.clock.now() + 10**12
    await peer.answer(await work.turn(), *(CreateTimer(number=number, due=far) for number in range(1, 10_001)))
    await until(lambda: _is(peer, id, lambda view: view.status == "running"))
    call = peer._channel.unary_stream(SERVICE + "StreamInstanceHistory")
    chunks = [
        MS.HistoryChunk.FromString(data) async for data in call(message("StreamInstanceHistoryRequest", instanceId=id))
    ]
    assert sum(len(chunk.events) for chunk in chunks) == 10_002
    assert max(len(chunk.events) for chunk in chunks) <= 100
    unknown = call(message("StreamInstanceHistoryRequest", instanceId="nobody"))
    assert (await refused(anext(aiter(unknown))))[0] == CODE.NOT_FOUND


@pytest.mark.long
@scene()
async def test_a_thousand_waits_that_are_given_up_leave_nothing_behind(server: Server, peer: Peer) -> None:
    operations = server.hosted.operations_of("shop")
    assert operations is not None
    id = await peer.start("checkout")
    tasks = [asyncio.create_task(peer.view(id, "WaitForInstanceCompletion")) for _ in range(1_000)]
    await until(lambda: len(operations.waiters) == 1_000)
    for task in tasks:
        task.cancel()
    await until(lambda: not len(operations.waiters))
    assert (await refused(peer.call("WaitForInstanceCompletion", _about(id), timeout=0.2)))[0] == CODE.DEADLINE_EXCEEDED
    await until(lambda: not len(operations.waiters))


def _about(id: str) -> bytes:
    return DAPR.peer.write_about(AboutInstance(instance=id))


@scene()
async def test_waits_for_what_is_not_there_end_at_once(server: Server, peer: Peer) -> None:
    assert await peer.view("nobody", "WaitForInstanceStart") is None
    assert await peer.view("nobody", "WaitForInstanceCompletion") is None


# -- what is kept exactly ---------------------------------------------------------------------------------------------

DEEP = Failure(
    type="OuterError",
    message="outer",
    stack="at line 1",
    non_retryable=True,
    cause=Failure(type="InnerError", message="", stack=None),
)


@scene()
async def test_failures_keep_their_cause_and_their_flag_from_activity_and_child_to_client(
    server: Server, peer: Peer
) -> None:
    work = peer.work()
    id = await peer.start("parent")
    await peer.answer(await work.turn(), CHARGE, CreateChild(number=2, name="child", instance="kid"))
    items = [await work.next(), await work.next()]
    for item in items:
        if hasattr(item, "number"):
            await peer.finish(item, failure=DEEP)
        else:
            await peer.answer(item, CompleteRun(number=-1, status="failed", failure=DEEP))
    told: list[Any] = []
    while len(told) < 2:
        turn = await work.turn()
        told += events(peer, turn)[1:]
        await peer.answer(turn, *([CompleteRun(number=-1, status="failed", failure=DEEP)] if len(told) == 2 else []))
    assert [event.failure for event in told] == [DEEP, DEEP]
    assert (await peer.ended(id)).failure == DEEP


@scene()
async def test_a_child_that_is_terminated_fails_its_call_with_a_type(server: Server, peer: Peer) -> None:
    work = peer.work()
    await peer.start("parent")
    await peer.answer(await work.turn(), CreateChild(number=1, name="child", instance="kid"))
    await work.turn()
    await peer.terminate("kid")
    turn = await work.turn()
    assert events(peer, turn)[1].failure.type == "WorkflowTerminated"


@scene()
async def test_a_custom_status_that_is_empty_is_stored_and_an_absent_one_changes_nothing(
    server: Server, peer: Peer
) -> None:
    work = peer.work()
    id = await peer.start("checkout")
    await peer.answer(await work.turn(), CHARGE, status=json('"half"'))
    await peer.finish(await work.activity(), "1")
    await peer.answer(await work.turn(), ScheduleActivity(number=2, name="charge"))
    view = await peer.view(id)
    assert view is not None
    assert text(view.custom_status) == '"half"'
    await peer.finish(await work.activity(), "1")
    await peer.answer(await work.turn(), DONE, status=json(""))
    assert text((await peer.ended(id)).custom_status) == ""


@scene()
async def test_a_timer_fires_at_the_nanosecond_that_was_asked_for(server: Server, peer: Peer) -> None:
    work = peer.work()
    await peer.start("sleeper")
    now = server.hosted.clock.now()
    endless = CreateTimer(number=2, due=253_402_300_799_999_999, due_nanos=999)
    await peer.answer(await work.turn(), CreateTimer(number=1, due=now, due_nanos=700), endless)
    turn = await work.turn()
    fired = events(peer, turn)[1]
    assert (fired.number, fired.due, fired.due_nanos) == (1, now, 700)
    created = events(peer, turn, "past")[3]
    assert (created.due, created.due_nanos) == (253_402_300_799_999_999, 999)
    await peer.answer(turn, CreateTimer(number=3, due=now))
    last = await work.turn()
    assert events(peer, last, "past")[5] == fired


@scene(DAPR, ("taskhub", "default"))
async def test_a_client_of_microsoft_s_is_not_shown_a_status_that_it_does_not_know(server: Server, peer: Peer) -> None:
    async with Peer(port(server)) as other:
        work = other.work()
        id = await other.start("checkout")
        await other.answer(await work.turn(), ReportMissingVersion(number=-1))
        await until(lambda: _is(other, id, lambda view: view.is_stalled))
        view = await peer.view(id)
        assert view is not None
        assert (view.status, view.is_stalled) == ("running", False)


@scene()
async def test_runs_end_as_their_worker_says_and_the_first_end_counts(server: Server, peer: Peer) -> None:
    work = peer.work()
    for status in ("terminated", "canceled"):
        id = await peer.start("checkout")
        await peer.answer(await work.turn(), CompleteRun(number=-1, status=status), DONE)
        view = await peer.ended(id)
        assert (view.status, view.output) == (status, None)


@scene()
async def test_an_instance_is_as_old_as_its_first_generation(server: Server, peer: Peer) -> None:
    work = peer.work()
    id = await peer.start("loop")
    first = await peer.view(id)
    await peer.answer(await work.turn(), ContinueRun(number=-1, input=json("2")))
    await peer.answer(await work.turn(), DONE)
    last = await peer.ended(id)
    assert first is not None
    assert last.created == first.created
    assert last.execution != first.execution


@scene()
async def test_workers_learn_their_app_from_the_start_of_a_run(server: Server, peer: Peer) -> None:
    work = peer.work()
    await peer.start("checkout")
    turn = await work.turn()
    started = events(peer, turn)[1]
    assert isinstance(started, RunStarted)
    assert started.router is not None
    assert (turn.app, started.router.source_app, started.router.target_app) == ("shop", "shop", None)


def test_a_child_of_another_app_learns_both(tmp_path: Path) -> None:
    from perdure.history.events import Router

    async def play() -> None:
        async with (
            serving(tmp_path, "shop", "lab") as server,
            Peer(port(server)) as shop,
            Peer(port(server, 1)) as lab,
        ):
            work, theirs = shop.work(), lab.work()
            await shop.start("checkout")
            await shop.answer(await work.turn(), CreateChild(number=1, name="kid", router=Router(target_app="lab")))
            router = events(lab, await theirs.turn())[1].router
            assert (router.source_app, router.target_app) == ("shop", "lab")

    asyncio.run(play())


@scene()
async def test_an_attempt_has_an_id_that_its_repetition_has_too(server: Server, peer: Peer) -> None:
    work = peer.work()
    await peer.start("checkout")
    await peer.answer(await work.turn(), CHARGE, ScheduleActivity(number=2, name="pack", key="own"))
    keys = {item.name: item.key for item in (await work.activity(), await work.activity())}
    assert keys["pack"] == "own"
    assert keys["charge"]
    work.leave()
    again = peer.work()
    assert {item.name: item.key for item in (await again.activity(), await again.activity())} == keys


@scene()
async def test_a_detached_instance_has_no_parent_and_outlives_its_creator(server: Server, peer: Peer) -> None:
    work = peer.work()
    id = await peer.start("parent")
    apart = CreateDetached(number=1, name="apart", instance="apart", tags={"k": "v"}, input=json("1"))
    await peer.answer(await work.turn(), apart, CreateDetached(number=2, name="apart", instance="apart"))
    turn = await work.turn()
    assert turn.instance == "apart"
    await peer.terminate(id)
    await peer.ended(id)
    await peer.call("PurgeInstances", message("PurgeInstancesRequest", instanceId=id, recursive=True))
    view = await peer.view("apart")
    assert view is not None
    assert (view.parent, dict(view.tags or {}), view.status) == (None, {"k": "v"}, "pending")


@scene(MICROSOFT)
async def test_tags_and_traces_go_with_starts_activities_and_children(server: Server, peer: Peer) -> None:
    work = peer.work(turns_max=10, activities_max=10)
    traces = [Trace(parent=f"00-{number:032x}-{number:016x}-01", span=f"{number:016x}") for number in range(1, 4)]
    await peer.start("checkout", tags={"run": "1"}, trace=traces[0])
    turn = await work.turn()
    started = events(peer, turn)[1]
    assert (started.tags, started.trace) == ({"run": "1"}, traces[0])
    await peer.answer(
        turn,
        ScheduleActivity(number=1, name="charge", tags={"call": "2"}, trace=traces[1]),
        CreateChild(number=2, name="child", tags={"child": "3"}, trace=traces[2]),
    )
    found: dict[str, Any] = {type(item).__name__: item for item in (await work.next(), await work.next())}
    attempt = found["ActivityItem"]
    assert (dict(attempt.tags), attempt.trace) == ({"call": "2"}, traces[1])
    child = events(peer, found["TurnItem"])[1]
    assert (child.tags, child.trace) == ({"child": "3"}, traces[2])
    await peer.finish(attempt, "1")
    again = await work.turn()
    scheduled = events(peer, again, "past")[2]
    assert (scheduled.tags, scheduled.trace) == ({"call": "2"}, traces[1])


@scene()
async def test_a_run_that_is_suspended_can_be_terminated_with_its_children(server: Server, peer: Peer) -> None:
    work = peer.work()
    id = await peer.start("parent")
    await peer.answer(await work.turn(), CreateChild(number=1, name="child", instance="kid"))
    await work.turn()
    await peer.suspend(id)
    await until(lambda: _is(peer, id, lambda view: view.is_suspended))
    await peer.terminate(id, '"enough"')
    for one in (id, "kid"):
        view = await peer.ended(one)
        assert (view.status, text(view.output), view.is_suspended) == ("terminated", '"enough"', False)


@scene()
async def test_a_history_too_large_for_its_worker_stalls_and_goes_on_with_one_that_takes_it(
    server: Server, peer: Peer
) -> None:
    id = await peer.start("checkout")
    large = json('"' + "x" * 2_500_000 + '"')
    await peer.raised(id, "large", '"' + "x" * 2_500_000 + '"')
    narrow = peer.work()
    await peer.answer(await narrow.turn(), ScheduleActivity(number=1, name="charge", input=large))
    await peer.finish(await narrow.activity(), "1")
    await until(lambda: _is(peer, id, lambda view: view.is_stalled))
    assert (await history(peer, id))[-1].reason == "payload-size-exceeded"
    narrow.leave()
    wide = peer.work(capabilities=frozenset((Capability.STATEFUL_HISTORY,)))
    await peer.answer(await wide.turn(), DONE)
    assert (await peer.ended(id)).status == "completed"


@scene(MICROSOFT)
async def test_a_worker_that_fetches_histories_is_sent_none_that_is_too_large(server: Server, peer: Peer) -> None:
    id = await peer.start("checkout")
    large = json('"' + "x" * 2_500_000 + '"')
    await peer.raised(id, "large", '"' + "x" * 2_500_000 + '"')
    narrow = peer.work(turns_max=5, activities_max=5, capabilities=frozenset((Capability.HISTORY_STREAMING,)))
    await peer.answer(await narrow.turn(), ScheduleActivity(number=1, name="charge", input=large))
    await peer.finish(await narrow.activity(), "1")
    turn = await narrow.turn()
    assert (turn.must_stream_history, list(turn.past)) == (True, [])
    assert names(peer, turn) == ["TurnStarted", "ActivityCompleted"]
    assert [type(event).__name__ for event in await history(peer, id)][-1] == "ActivityScheduled"
    await peer.answer(turn, DONE)
    assert (await peer.ended(id)).status == "completed"


# -- turns in parts ---------------------------------------------------------------------------------------------------


@scene(MICROSOFT)
async def test_an_answer_in_parts_counts_as_one_and_a_worker_may_ask_for_the_whole_history(
    server: Server, peer: Peer
) -> None:
    work = peer.work(turns_max=1, activities_max=10)
    id = await peer.start("checkout")
    first = await work.turn()
    await peer.answer(first, must_have_history=True)
    again = await work.turn()
    assert (again.instance, again.token != first.token) == (id, True)
    await peer.answer(again, ScheduleActivity(number=1, name="one"), is_partial=True, chunk=0)
    await peer.answer(again, ScheduleActivity(number=2, name="two"), chunk=1)
    assert [(await work.activity()).name for _ in range(2)] == ["one", "two"]


@scene(MICROSOFT)
async def test_a_trace_comes_back_with_each_turn(server: Server, peer: Peer) -> None:
    work = peer.work(turns_max=1, activities_max=1)
    await peer.start("checkout")
    trace = b"\x0a\x02\x0a\x00"
    await peer.answer(await work.turn(), CHARGE, trace=trace)
    await peer.finish(await work.activity(), "1")
    assert (await work.turn()).trace == trace


def test_a_trace_outlives_the_server(tmp_path: Path) -> None:
    trace = b"\x0a\x02\x0a\x00"

    async def play() -> None:
        async with serving(tmp_path) as server, Peer(port(server), MICROSOFT) as peer:
            work = peer.work(turns_max=1, activities_max=1)
            await peer.start("checkout")
            await peer.answer(await work.turn(), CHARGE, trace=trace)
            await work.activity()
        async with serving(tmp_path) as server, Peer(port(server), MICROSOFT) as peer:
            work = peer.work(turns_max=1, activities_max=1)
            await peer.finish(await work.activity(), "1")
            assert (await work.turn()).trace == trace

    asyncio.run(play())


@scene(MICROSOFT)
async def test_a_call_without_a_version_goes_to_a_worker_of_the_run_s_version(server: Server, peer: Peer) -> None:
    from perdure.remote.requests import Filters

    def of(version: str) -> Filters:
        versions = frozenset((version,))
        return Filters(workflows={"checkout": versions}, activities={"charge": versions})

    old, new = peer.work(filters=of("1.0")), peer.work(filters=of("2.0"))
    await peer.start("checkout", version="2.0")
    await peer.answer(await new.turn(), CHARGE)
    attempt = await new.activity()
    assert attempt.version is None
    await peer.finish(attempt, "1")
    await peer.answer(await new.turn(), ContinueRun(number=-1))
    assert events(peer, await new.turn())[1].version == "2.0"
    assert await old.is_silent()


# -- removal ----------------------------------------------------------------------------------------------------------


async def purge(peer: Peer, schema: Any = MS, **fields: Any) -> tuple[int, bool]:
    data = await peer.call("PurgeInstances", message("PurgeInstancesRequest", schema, **fields))
    answer = MS.PurgeInstancesResponse.FromString(data)
    return answer.deletedInstanceCount, answer.isComplete.value


@scene()
async def test_a_purge_counts_what_it_removes_and_leaves_what_runs(server: Server, peer: Peer) -> None:
    work = peer.work()
    await done(peer, work, "a", "b", "c", "d")
    await peer.start("checkout", "open")
    await peer.answer(await work.turn())
    assert await purge(peer, instanceId="nobody") == (0, True)
    assert await purge(peer, instanceId="open") == (0, True)
    assert await purge(peer, instanceId="a") == (1, True)
    assert await purge(peer, instanceBatch={"instanceIds": ["b", "open", "nobody"]}) == (1, True)
    assert await purge(peer, purgeInstanceFilter={"runtimeStatus": [STATUSES["failed"]]}) == (0, True)
    assert await purge(peer, purgeInstanceFilter={"runtimeStatus": [STATUSES["suspended"]]}) == (0, True)
    assert await purge(peer, purgeInstanceFilter={"runtimeStatus": [STATUSES["completed"]]}) == (2, True)
    many = [f"id-{number}" for number in range(501)]
    assert (await refused(purge(peer, instanceBatch={"instanceIds": many})))[0] == CODE.INVALID_ARGUMENT


@scene()
async def test_a_purge_by_force_ends_what_runs_and_takes_its_children_along(server: Server, peer: Peer) -> None:
    work = peer.work()
    await peer.start("parent", "parent")
    kid = CreateChild(number=1, name="child", instance="kid")
    await peer.answer(await work.turn(), kid)
    await work.turn()
    assert await purge(peer, DAPR_SCHEMA, instanceId="parent", recursive=True, force=True) == (2, True)
    assert await peer.view("parent") is None
    assert await peer.view("kid") is None


@scene(MICROSOFT)
async def test_many_are_terminated_without_their_code(server: Server, peer: Peer) -> None:
    for id in ("a", "b"):
        await peer.start("checkout", id)
    asked = message(
        "SkipGracefulWorkflowTerminationsRequest",
        instanceBatch={"instanceIds": ["a", "nobody", "b"]},
        reason={"value": '"enough"'},
    )
    answer = await peer.call("SkipGracefulOrchestrationTerminations", asked)
    left = MS.SkipGracefulWorkflowTerminationsResponse.FromString(answer)
    assert list(left.unterminatedInstanceIds) == ["nobody"]
    for id in ("a", "b"):
        view = await peer.ended(id)
        assert (view.status, text(view.output)) == ("terminated", '"enough"')


@scene()
async def test_commands_to_what_is_over_or_not_there(server: Server, peer: Peer) -> None:
    await done(peer, peer.work(), "over")
    for command in (peer.terminate, peer.suspend, peer.resume):
        await command("over")
        assert (await refused(command("nobody")))[0] == CODE.NOT_FOUND
    await peer.raised("over", "late")
    assert (await peer.ended("over")).status == "completed"


# -- reruns -----------------------------------------------------------------------------------------------------------


async def restart(peer: Peer, id: str, *, anew: bool = False) -> str:
    data = await peer.call(
        "RestartInstance", message("RestartInstanceRequest", instanceId=id, restartWithNewInstanceId=anew)
    )
    return peer.codec.peer.read_started(data)


@scene(MICROSOFT)
async def test_a_restart_begins_as_the_instance_began(server: Server, peer: Peer) -> None:
    work = peer.work(turns_max=10)
    id = await peer.start("checkout", "order", "41", tags={"k": "v"}, version="1.0")
    first = await work.turn()
    assert (await refused(restart(peer, id)))[0] == CODE.FAILED_PRECONDITION
    other = await restart(peer, id, anew=True)
    assert other != id
    copy = await work.turn()
    assert copy.instance == other
    started = events(peer, copy)[1]
    assert (started.name, text(started.input), started.tags, started.version) == ("checkout", "41", {"k": "v"}, "1.0")
    await peer.answer(first, DONE)
    await peer.ended(id)
    assert await restart(peer, id) == id
    assert (await work.turn()).execution != first.execution
    assert (await refused(restart(peer, "nobody")))[0] == CODE.NOT_FOUND


async def rerun(peer: Peer, source: str, number: int, **more: Any) -> str:
    asked = Rerun(source=source, number=number, **more)
    return peer.codec.peer.read_started(await peer.call("RerunWorkflowFromEvent", RERUN.form(DAPR_SCHEMA).write(asked)))


@scene()
async def test_a_rerun_makes_the_action_again_with_another_input_before_code_is_asked(
    server: Server, peer: Peer
) -> None:
    work = peer.work()
    id = await peer.start("checkout", "order", "41")
    kid = CreateChild(number=2, name="child", instance="kid", input=json("1"))
    await peer.answer(await work.turn(), CHARGE, kid, CreateTimer(number=3, due=0))
    while (view := await peer.view(id)) is not None and view.status != "completed":
        item: Any = await work.next()
        if hasattr(item, "number"):
            await peer.finish(item, "1")
        elif item.instance == "kid":
            await peer.answer(item, DONE)
        else:
            is_last = len(names(peer, item, "past") + names(peer, item)) >= 8
            await peer.answer(item, *([DONE] if is_last else []))
            if is_last:
                await peer.ended(id)

    assert await rerun(peer, id, 1, instance="again", input=json("8"), replaces_input=True) == "again"
    attempt = await work.activity()
    assert (attempt.instance, text(attempt.input)) == ("again", "8")
    await peer.finish(attempt, "2")
    turn = await work.turn()
    assert names(peer, turn, "past") == ["TurnStarted", "RunStarted", "ActivityScheduled"]
    scheduled = events(peer, turn, "past")[2]
    assert (scheduled.rerun_of, text(scheduled.input)) == (id, "8")
    await peer.answer(turn, DONE)
    assert (await peer.ended("again")).status == "completed"

    assert await rerun(peer, id, 2, instance="third", child="other-kid") == "third"
    both = {type(item).__name__: item for item in (await work.next(), await work.next())}
    assert both["ActivityItem"].instance == "third"
    assert both["TurnItem"].instance == "other-kid"


@scene()
async def test_what_cannot_be_rerun_is_refused(server: Server, peer: Peer) -> None:
    work = peer.work()
    apart = CreateDetached(number=2, name="apart", instance="apart")
    id = await peer.start("checkout", "order")
    first = await work.turn()
    assert (await refused(rerun(peer, id, 1)))[0] == CODE.INVALID_ARGUMENT
    await peer.answer(first, CreateTimer(number=1, due=0), apart, SendEvent(number=3, instance="x", name="e"), DONE)
    await peer.ended(id)
    for asked, code in (
        ({"number": 9}, CODE.NOT_FOUND),
        ({"number": 3}, CODE.NOT_FOUND),
        ({"number": 2}, CODE.INVALID_ARGUMENT),
        ({"number": 1, "replaces_input": True}, CODE.INVALID_ARGUMENT),
        ({"number": 1, "child": "kid"}, CODE.INVALID_ARGUMENT),
        ({"number": 1, "instance": id}, CODE.INVALID_ARGUMENT),
        ({"number": 1, "instance": "apart"}, CODE.ALREADY_EXISTS),
    ):
        assert (await refused(rerun(peer, id, **asked)))[0] == code, asked  # type: ignore[arg-type]
    assert (await refused(rerun(peer, "nobody", 1)))[0] == CODE.NOT_FOUND
