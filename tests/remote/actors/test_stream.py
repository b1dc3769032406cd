"""Actors of a program that opens a stream to the server, and the calls about actors over gRPC, without any SDK."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from perdure.app import open_store
from perdure.errors import InvalidArgument, MalformedMessage
from perdure.remote.actors.host import Hosting
from perdure.remote.actors.memory import Put, Remove
from perdure.remote.server import Server
from perdure.remote.settings import Listener, ServerSettings
from perdure.remote.wire.actor_calls import change_of, ttl_of
from perdure.remote.wire.actor_stream import read_opening, read_reply
from perdure.remote.wire.schema import RUNTIME_SCHEMA as R

SERVICE = "/dapr.proto.runtime.v1.Dapr"


class Host:
    """A program with its stream, which answers as `answers` says, or not at all."""

    def __init__(self, channel, *types: str, **more):
        self.seen = []
        self.answers = {}
        self._out = asyncio.Queue()
        opening = R.SubscribeActorEventsRequestInitialAlpha1(entities=types, **more)
        self._out.put_nowait(R.SubscribeActorEventsRequestAlpha1(initial_request=opening))
        self.call = channel.stream_stream(f"{SERVICE}/SubscribeActorEventsAlpha1")(self._sent())
        self.opened = asyncio.Event()
        self.task = asyncio.create_task(self._serve())

    async def _sent(self):
        while (message := await self._out.get()) is not None:
            yield message.SerializeToString()

    async def _serve(self):
        async for data in self.call:
            message = R.SubscribeActorEventsResponseAlpha1.FromString(data)
            kind = message.WhichOneof("response_type")
            asked = getattr(message, kind)
            if kind == "initial_response":
                self.opened.set()
                continue
            self.seen.append((kind, asked))
            answer = self.answers.get(kind, lambda asked: None)(asked)
            if answer is not None:
                self._out.put_nowait(R.SubscribeActorEventsRequestAlpha1(**answer))

    def gone(self):
        self.call.cancel()
        self.task.cancel()


def deactivated(asked):
    return {"deactivate_response": R.SubscribeActorEventsRequestDeactivateResponseAlpha1(id=asked.id)}


def doubled(asked):
    response = R.SubscribeActorEventsRequestInvokeResponseAlpha1(id=asked.id, data=asked.data * 2)
    return {"invoke_response": response}


@asynccontextmanager
async def desk(url):
    listener = Listener(app_id="desk", grpc_port=0, http_port=None)
    server = Server(open_store(url), ServerSettings(listeners=(listener,), store=url, drain_seconds=0.0))
    await server.open()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.listeners[0].grpc_port}") as channel:

            async def ask(name, /, **fields):
                call = channel.unary_unary(f"{SERVICE}/{name}")
                return await call(getattr(R, f"{name}Request")(**fields).SerializeToString(), timeout=10)

            yield channel, ask
    finally:
        await server.close()


def test_a_method_goes_over_the_stream_and_its_answer_comes_back(run, url):
    async def scenario():
        async with desk(url) as (channel, ask):
            host = Host(channel, "Echo")
            host.answers = {"deactivate_request": deactivated, "invoke_request": doubled}
            await host.opened.wait()
            data = await ask("InvokeActor", actor_type="Echo", actor_id="1", method="Say", data=b"\xffab")
            assert R.InvokeActorResponse.FromString(data).data == b"\xffab\xffab"
            kinds = [kind for kind, _ in host.seen]
            assert kinds == ["deactivate_request", "invoke_request"]
            asked = host.seen[1][1]
            assert (asked.actor_type, asked.actor_id, asked.method) == ("Echo", "1", "Say")
            assert asked.metadata["Dapr-Reentrancy-Id"]

            def failed(asked):
                return {"request_failed": R.SubscribeActorEventsRequestFailedAlpha1(id=asked.id, message="no such")}

            host.answers["invoke_request"] = failed
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await ask("InvokeActor", actor_type="Echo", actor_id="1", method="Say")
            assert (raised.value.code(), "no such" in raised.value.details()) == (grpc.StatusCode.INTERNAL, True)
            host.gone()

    run(scenario)


def test_a_stream_that_breaks_off_gives_its_work_to_the_next(run, url):
    async def scenario():
        async with desk(url) as (channel, ask):
            silent = Host(channel, "Echo")
            silent.answers = {"deactivate_request": deactivated}
            await silent.opened.wait()
            asking = asyncio.create_task(ask("InvokeActor", actor_type="Echo", actor_id="1", method="Say", data=b"x"))
            while len(silent.seen) < 2:
                await asyncio.sleep(0.01)
            silent.gone()
            host = Host(channel, "Echo")
            host.answers = {"deactivate_request": deactivated, "invoke_request": doubled}
            assert R.InvokeActorResponse.FromString(await asking).data == b"xx"
            host.gone()

    run(scenario)


def test_reminders_and_timers_over_the_stream(run, url):
    async def scenario():
        async with desk(url) as (channel, ask):
            host = Host(channel, "Echo")
            host.answers = {
                "deactivate_request": deactivated,
                "invoke_request": doubled,
                "timer_request": lambda asked: {
                    "timer_response": R.SubscribeActorEventsRequestReminderResponseAlpha1(id=asked.id)
                },
                "reminder_request": lambda asked: {
                    "reminder_response": R.SubscribeActorEventsRequestReminderResponseAlpha1(id=asked.id, cancel=True)
                },
            }
            await host.opened.wait()
            who = {"actor_type": "Echo", "actor_id": "1"}
            await ask("InvokeActor", **who, method="Say")
            await ask("RegisterActorTimer", **who, name="t", due_time="10ms", callback="tick", data=b"[1]")
            await ask("RegisterActorReminder", **who, name="r", due_time="10ms", period="1h", data=b"soon")
            await ask("RegisterActorReminder", **who, name="kept", due_time="1h")
            with pytest.raises(grpc.aio.AioRpcError, match="not to be overwritten"):
                await ask("RegisterActorReminder", **who, name="kept", due_time="1h", overwrite=False)
            await ask("UnregisterActorReminder", **who, name="kept")
            while len(host.seen) < 4:
                await asyncio.sleep(0.01)
            found = dict(host.seen)
            assert found["timer_request"].callback == "tick"
            told = BytesValue.FromString(found["reminder_request"].data.value)
            assert (told.value, found["reminder_request"].period) == (b'"c29vbg=="', "1h")
            while R.ListActorRemindersResponse.FromString(await ask("ListActorReminders", actor_type="Echo")).reminders:
                await asyncio.sleep(0.01)
            with pytest.raises(grpc.aio.AioRpcError, match="has no reminder 'r'"):
                await ask("GetActorReminder", **who, name="r")
            host.gone()

    run(scenario)


def test_a_stream_that_says_nothing_sensible_is_ended_in_words(run, url):
    async def scenario():
        async with desk(url) as (channel, _):
            for host, part in ((Host(channel, "A@B"), "cannot be used"), (Host(channel, "A/B"), "cannot be used")):
                with pytest.raises(grpc.aio.AioRpcError, match=part):
                    await host.task

    run(scenario)


def test_what_a_stream_says_of_its_actors():
    opening = R.SubscribeActorEventsRequestInitialAlpha1(entities=["Plain"])
    opening.actor_idle_timeout.FromSeconds(60)
    opening.reentrancy.enabled = True
    own = opening.entities_config.add(entities=["Own"])
    own.actor_idle_timeout.FromMilliseconds(1_500)
    own.reentrancy.enabled = True
    own.reentrancy.max_stack_depth = 2
    message = R.SubscribeActorEventsRequestAlpha1(initial_request=opening)
    assert read_opening(message.SerializeToString()).types == {"Plain": Hosting(60.0, 32), "Own": Hosting(1.5, 2)}
    with pytest.raises(MalformedMessage, match="no answer"):
        read_reply(message.SerializeToString())
    with pytest.raises(MalformedMessage, match="no initial_request"):
        read_opening(R.SubscribeActorEventsRequestAlpha1().SerializeToString())
    with pytest.raises(MalformedMessage):
        read_opening(b"\xff\xff")
    many = R.SubscribeActorEventsRequestInitialAlpha1(entities=[f"T{n}" for n in range(1_001)])
    with pytest.raises(InvalidArgument, match="at most 1,000"):
        read_opening(R.SubscribeActorEventsRequestAlpha1(initial_request=many).SerializeToString())


def test_operations_of_a_transaction():
    assert change_of("upsert", "a", b"1", "60") == Put("a", b"1", 60)
    assert change_of("Delete", "a", b"", None) == Remove("a")
    assert [ttl_of(text) for text in (None, "", "-1", "0", "5")] == [None, None, None, None, 5]
    for text in ("soon", "1e3", "-2", "9" * 20):
        with pytest.raises(MalformedMessage, match="no number of seconds"):
            ttl_of(text)
