"""Entities over a server's real port: messages of the public protocol, written and read by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from perdure.history.events import EntitySignaled
from perdure.remote.requests import Flavour
from perdure.remote.security import Token
from perdure.remote.server import Server
from perdure.remote.wire.codec import DAPR, MICROSOFT
from perdure.remote.wire.schema import MICROSOFT_SCHEMA
from tests.remote.peer import SERVICE, Peer, until
from tests.remote.test_server import port, serving

ms = MICROSOFT_SCHEMA
COUNTER = "@counter@a"
NAMED = (("taskhub", "default"),)
"""Metadata by which a caller is told to speak Microsoft's protocol."""


_REQUESTS = {"AbandonTaskEntityWorkItem": "AbandonEntityTaskRequest"}
"""Requests that are called otherwise than their calls."""


class Hand(Peer):
    """A worker and client that knows entities."""

    def __init__(self, port: int, *more: tuple[str, str]) -> None:
        super().__init__(port, MICROSOFT, (*NAMED, *more))

    def stream(self) -> Any:
        asked = ms.GetWorkItemsRequest(maxConcurrentEntityWorkItems=10).SerializeToString()
        return self._channel.unary_stream(SERVICE + "GetWorkItems")(asked, metadata=self._metadata)

    async def batch(self, stream: Any) -> Any:
        """The next work item, which is a batch."""
        while True:
            item = ms.WorkItem.FromString(await stream.read())
            if item.WhichOneof("request") != "healthPing":
                assert item.WhichOneof("request") == "entityRequestV2"
                return item

    async def ask(self, call: str, response: str, **fields: Any) -> Any:
        name = _REQUESTS.get(call, f"{call}Request")
        data = await self.call(call, getattr(ms, name)(**fields).SerializeToString())
        return getattr(ms, response).FromString(data)

    async def signal(self, operation: str, request: str, id: str = COUNTER) -> None:
        await self.ask("SignalEntity", "SignalEntityResponse", instanceId=id, name=operation, requestId=request)

    async def get(self, id: str = COUNTER) -> Any:
        return await self.ask("GetEntity", "GetEntityResponse", instanceId=id, includeState=True)

    async def answer(self, item: Any, state: str, results: int = 1, **more: Any) -> None:  # type: ignore[override]
        done = ms.EntityBatchResult(completionToken=item.completionToken, **more)
        for _ in range(results):
            done.results.add().success.endTimeUtc.GetCurrentTime()
        done.entityState.value = state
        await self.call("CompleteEntityTask", done.SerializeToString())

    async def comes_to(self, state: str, id: str = COUNTER) -> None:
        async def is_there() -> bool:
            found: bool = (await self.get(id)).entity.serializedState.value == state
            return found

        await until(is_there)


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[tuple[Server, Hand]]:
    async with serving(folder) as server, Hand(port(server)) as hand:
        yield server, hand


def test_a_batch_carries_state_operations_and_token_and_is_answered_once(run, tmp_path):
    async def scenario() -> None:
        async with scene(tmp_path) as (_, hand):
            stream = hand.stream()
            await hand.signal("add", "r1")
            first = await hand.batch(stream)
            assert first.completionToken
            request = first.entityRequestV2
            assert (request.instanceId, len(request.executionId)) == (COUNTER, 32)
            assert not request.HasField("entityState")
            (operation,) = request.operationRequests
            event = MICROSOFT.read_event(operation)
            assert (type(event), event.request, event.operation) == (EntitySignaled, "r1", "add")
            await hand.signal("add", "r2")
            await hand.answer(first, "1")
            second = await hand.batch(stream)
            assert second.entityRequestV2.entityState.value == "1"
            assert second.completionToken != first.completionToken
            await hand.answer(first, "100")
            await hand.answer(second, "2")
            await hand.answer(second, "200")
            await hand.comes_to("2")
            found = await hand.get()
            assert (found.exists, found.entity.backlogQueueSize, found.entity.HasField("lockedBy")) == (True, 0, False)
            assert found.entity.lastModifiedTime.seconds > 0

    run(scenario)


@pytest.mark.long
def test_a_batch_goes_to_the_next_worker_when_its_own_leaves_or_gives_it_back(run, tmp_path):
    async def scenario() -> None:
        async with scene(tmp_path) as (_, hand):
            gone = hand.stream()
            await hand.signal("add", "r1")
            lost = await hand.batch(gone)
            gone.cancel()
            stream = hand.stream()
            again = await hand.batch(stream)
            assert again.completionToken != lost.completionToken
            await hand.answer(lost, "100")
            await hand.ask(
                "AbandonTaskEntityWorkItem", "AbandonEntityTaskResponse", completionToken=again.completionToken
            )
            third = await hand.batch(stream)
            await hand.answer(again, "200")
            await hand.answer(third, "1", requiresState=True)
            fourth = await hand.batch(stream)
            await hand.answer(fourth, "1")
            await hand.comes_to("1")

    run(scenario)


def test_a_worker_of_the_other_protocol_gets_no_batch(run, tmp_path):
    async def scenario() -> None:
        async with scene(tmp_path) as (server, hand), Peer(port(server), DAPR) as other:
            work = other.work()
            await until(lambda: server.hosted.dispatcher.streams)
            assert server.hosted.dispatcher.streams[0].codec.flavour is Flavour.DAPR
            await hand.signal("add", "r1")
            assert await work.is_silent()
            await hand.answer(await hand.batch(hand.stream()), "1")
            await hand.comes_to("1")

    run(scenario)


def test_the_server_dies_between_question_and_answer(run, tmp_path):
    async def scenario() -> None:
        async with scene(tmp_path) as (_, hand):
            stream = hand.stream()
            await hand.signal("add", "r1")
            old = await hand.batch(stream)
        async with scene(tmp_path) as (_, hand):
            stream = hand.stream()
            again = await hand.batch(stream)
            await hand.answer(old, "100")
            await hand.answer(again, "1")
            await hand.comes_to("1")

    run(scenario)


def test_entities_are_listed_apart_from_instances_and_cleaned_up(run, tmp_path):
    async def scenario() -> None:
        async with scene(tmp_path) as (_, hand):
            stream = hand.stream()
            for n in range(3):
                await hand.signal("add", f"r{n}", f"@counter@{n}")
                await hand.answer(await hand.batch(stream), str(n))
                await hand.comes_to(str(n), f"@counter@{n}")
            query = ms.EntityQuery(includeState=True)
            query.instanceIdStartsWith.value = "@counter@"
            query.pageSize.value = 2
            page = await hand.ask("QueryEntities", "QueryEntitiesResponse", query=query)
            query.continuationToken.value = page.continuationToken.value
            rest = await hand.ask("QueryEntities", "QueryEntitiesResponse", query=query)
            found = {e.instanceId: e.serializedState.value for e in (*page.entities, *rest.entities)}
            assert found == {f"@counter@{n}": str(n) for n in range(3)}
            assert not rest.HasField("continuationToken")
            listed = await hand.ask("QueryInstances", "QueryInstancesResponse")
            assert list(listed.workflowState) == []
            assert await hand.view(COUNTER) is None
            await hand.signal("delete", "d", "@counter@1")
            await hand.answer(await hand.batch(stream), "")
            await until(lambda: is_gone(hand, "@counter@1"))
            done = await hand.ask("CleanEntityStorage", "CleanEntityStorageResponse", removeEmptyEntities=True)
            assert (done.emptyEntitiesRemoved, done.orphanedLocksReleased) == (1, 0)
            purge = ms.PurgeInstancesRequest(instanceId="@counter@0").SerializeToString()
            purged = ms.PurgeInstancesResponse.FromString(await hand.call("PurgeInstances", purge))
            assert purged.deletedInstanceCount == 1
            await until(lambda: is_gone(hand, "@counter@0"))
            assert (await hand.get("@counter@2")).exists

    run(scenario)


async def is_gone(hand: Hand, id: str) -> bool:
    return not (await hand.get(id)).exists


@pytest.mark.parametrize(
    "call, data, status",
    [
        ("SignalEntity", ms.SignalEntityRequest(instanceId="order-1", name="add"), "INVALID_ARGUMENT"),
        ("SignalEntity", ms.SignalEntityRequest(instanceId="@c@" + "k" * 101, name="add"), "INVALID_ARGUMENT"),
        ("SignalEntity", ms.SignalEntityRequest(instanceId=COUNTER), "INVALID_ARGUMENT"),
        ("StartInstance", ms.CreateInstanceRequest(instanceId=COUNTER, name="main"), "INVALID_ARGUMENT"),
        ("RaiseEvent", ms.RaiseEventRequest(instanceId=COUNTER, name="go"), "NOT_FOUND"),
        ("TerminateInstance", ms.TerminateRequest(instanceId=COUNTER), "NOT_FOUND"),
        ("CompleteEntityTask", b"\xff\xff\xff", "INVALID_ARGUMENT"),
        ("QueryEntities", b"\x0a\xff", "INVALID_ARGUMENT"),
    ],
)
def test_what_is_no_call_for_an_entity_is_refused_in_words(run, tmp_path, call, data, status):
    async def scenario() -> None:
        async with scene(tmp_path) as (_, hand):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await hand.call(call, data if isinstance(data, bytes) else data.SerializeToString())
            assert refused.value.code() is getattr(grpc.StatusCode, status)
            assert "Traceback" not in (refused.value.details() or "")

    run(scenario)


def test_an_answer_to_a_batch_of_an_app_that_the_caller_may_not_act_for_changes_nothing(run, tmp_path):
    billing = (("dapr-app-id", "billing"), ("dapr-api-token", "every"))

    async def scenario() -> None:
        async with (
            serving(tmp_path, all_apps_token=Token("every")) as server,
            Hand(port(server), *billing) as theirs,
            Hand(port(server)) as stranger,
        ):
            stream = theirs.stream()
            await theirs.signal("add", "r1")
            item = await theirs.batch(stream)
            await stranger.answer(item, "666")
            await theirs.answer(item, "1")
            await theirs.comes_to("1")

    run(scenario)


def test_answers_that_nobody_asked_for_change_nothing(run, tmp_path):
    async def scenario() -> None:
        async with scene(tmp_path) as (_, hand):
            for token in ("", "x", f"x.{COUNTER}", "x.order-1"):
                await hand.call("CompleteEntityTask", ms.EntityBatchResult(completionToken=token).SerializeToString())
            assert not (await hand.get()).exists

    run(scenario)
