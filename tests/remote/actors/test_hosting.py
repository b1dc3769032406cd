"""Actors of a program that listens on a port, at a whole server: what it is asked, and what is kept of what it does."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from perdure.app import open_store
from perdure.history.events import EntityCalled
from perdure.history.work import Batch
from perdure.remote.actors import actors as module
from perdure.remote.actors import http_host
from perdure.remote.actors.actors import AppActors
from perdure.remote.actors.host import entity_of
from perdure.remote.actors.operations import Method, read_operation, write_operation
from perdure.remote.hosted import Hosted
from perdure.remote.http.listener import HttpListener
from perdure.remote.server import Server
from perdure.remote.settings import Listener, ServerSettings
from servers.ports import free_port


class Program:
    """Hosts counters. Like an SDK's, an actor keeps in memory what it has read, and writes before it answers."""

    def __init__(self):
        self.asked: list[str] = []
        self.memory: dict[str, int] = {}
        self.hold = asyncio.Event()
        self.hold.set()
        self.writes = asyncio.Event()
        self.reminded: list[dict] = []
        self.failing = 0
        self.cancels = False
        self.server = ""
        self.hosted = None
        routes = [
            Route("/dapr/config", self.config),
            Route("/actors/{type}/{id}", self.deactivate, methods=["DELETE"]),
            Route("/actors/{type}/{id}/method/remind/{name}", self.remind, methods=["PUT"]),
            Route("/actors/{type}/{id}/method/timer/{name}", self.timer, methods=["PUT"]),
            Route("/actors/{type}/{id}/method/{name}", self.method, methods=["PUT"]),
        ]
        self.app = Starlette(routes=routes)

    async def config(self, request: Request) -> Response:
        return JSONResponse({"entities": ["Counter"], "actorIdleTimeout": "1h"})

    async def deactivate(self, request: Request) -> Response:
        id = request.path_params["id"]
        self.asked.append(f"deactivate {id}")
        return Response(status_code=200 if self.memory.pop(id, None) is not None else 500)

    async def method(self, request: Request) -> Response:
        id, name = request.path_params["id"], request.path_params["name"]
        self.asked.append(f"{name} {id}")
        if name == "Fail":
            await self.save(id, 100)
            return JSONResponse({"message": "not today"}, 500)
        if name != "Add":
            return Response(status_code=404)
        async with httpx.AsyncClient(base_url=self.server, trust_env=False, verify=False, timeout=30) as browser:
            if id not in self.memory:
                kept = await browser.get(f"/v1.0/actors/Counter/{id}/state/value")
                self.memory[id] = kept.json() if kept.status_code == 200 else 0
        self.memory[id] += json.loads(await request.body())
        await self.save(id, self.memory[id])
        self.writes.set()
        await self.hold.wait()
        return JSONResponse(self.memory[id])

    async def save(self, id: str, value: int) -> None:
        async with httpx.AsyncClient(base_url=self.server, trust_env=False, verify=False, timeout=30) as browser:
            change = {"operation": "upsert", "request": {"key": "value", "value": value}}
            assert (await browser.put(f"/v1.0/actors/Counter/{id}/state", json=[change])).status_code == 204

    async def remind(self, request: Request) -> Response:
        self.reminded.append(await request.json())
        if self.failing:
            self.failing -= 1
            return Response(status_code=500)
        return Response(headers={"X-DaprReminderCancel": "true"} if self.cancels else None)

    async def timer(self, request: Request) -> Response:
        self.reminded.append(await request.json())
        return Response()


@asynccontextmanager
async def served(url, program, port, drain_seconds=0.0):
    """A server that looks for the program at a port, and what calls the server."""
    listener = Listener(app_id="desk", grpc_port=0, http_port=0, app_url=f"http://127.0.0.1:{port}")
    server = Server(open_store(url), ServerSettings(listeners=(listener,), store=url, drain_seconds=drain_seconds))
    await server.open()
    program.server = f"http://127.0.0.1:{server.listeners[0].http_port}"
    program.hosted = server.hosted
    try:
        async with httpx.AsyncClient(
            base_url=f"{program.server}/v1.0/actors", trust_env=False, verify=False, timeout=30
        ) as browser:
            yield browser
    finally:
        await server.close()


@asynccontextmanager
async def hosted(url, program):
    """The same with the program beside it."""
    async with (
        HttpListener(program.app, port=0, drain_seconds=0) as listening,
        served(url, program, listening.port) as browser,
    ):
        yield browser


async def add(browser, id, amount):
    answer = await browser.post(f"/Counter/{id}/method/Add", json=amount)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_turn_is_one_commit_and_its_state_is_read_by_others(run, url):
    async def scenario():
        program = Program()
        async with hosted(url, program) as browser:
            assert [await add(browser, "a", 5), await add(browser, "a", 2)] == [5, 7]
            assert (await browser.get("/Counter/a/state/value")).json() == 7
            assert (await browser.get("/Counter/a/state/none")).status_code == 204
            failed = await browser.post("/Counter/a/method/Fail")
            assert (failed.status_code, failed.json()["errorCode"]) == (500, "ERR_ACTOR_INVOKE_METHOD")
            assert "not today" in failed.json()["message"]
            assert (await browser.get("/Counter/a/state/value")).json() == 100  # because it was saved before it failed
            assert "no method 'None'" in (await browser.post("/Counter/a/method/None")).text
        assert program.asked[:3] == ["deactivate a", "Add a", "Add a"]

    run(scenario)


async def _killed_in_a_turn(url, program):
    """The value of a counter of 5 to which 3 is added, by a server that stops in that turn and one that takes over."""
    async with hosted(url, program) as browser:
        assert await add(browser, "a", 5) == 5
        program.hold.clear()
        program.writes.clear()
        asking = asyncio.create_task(browser.post("/Counter/a/method/Add", json=3))
        await program.writes.wait()
    await asyncio.gather(asking, return_exceptions=True)
    program.hold.set()
    async with hosted(url, program) as browser:
        return await add(browser, "a", 0)


def test_what_a_program_has_in_memory_of_a_turn_that_was_not_written_is_put_away(run, url):
    program = Program()
    assert run(lambda: _killed_in_a_turn(url, program)) == 8
    assert program.asked.count("Add a") == 4  # the turn that was not written was taken again


def test_a_program_is_called_only_when_the_server_listens_because_it_calls_back(run, url, monkeypatch):
    reach, reached = Hosted.reach, []

    def reach_what_can_call(self, app, channel):
        with socket.create_connection(("127.0.0.1", int(self.doors[-1].rpartition(":")[2])), timeout=5):
            reached.append(app)
        reach(self, app, channel)

    async def scenario():
        monkeypatch.setattr(Hosted, "reach", reach_what_can_call)
        async with hosted(url, Program()) as browser:
            assert await add(browser, "a", 5) == 5

    run(scenario)
    assert reached == ["desk"]


def test_without_putting_it_away_the_turn_counts_twice(run, url, monkeypatch):
    async def trust(self, turn, host):
        """Take the program's memory for what is stored."""

    monkeypatch.setattr(AppActors, "_activate", trust)
    assert run(lambda: _killed_in_a_turn(url, Program())) == 11


async def _taken_back(url, program, is_seen):
    """A turn is taken back while its method runs, and taken again: what the second one answers, and how many methods
    had begun before the first one ended, which it does when `is_seen` has returned."""
    async with hosted(url, program) as browser:
        await add(browser, "other", 1)
        actors, entity = program.hosted.actors.of("desk"), entity_of("Counter", "a")
        operation, input = write_operation(Method("Add", b"5"))
        event = EntityCalled(at=1, number=0, request="r", operation=operation, target=entity, input=input)
        batch, done = Batch("desk", entity, "dapr:Counter", "x", [event]), []
        program.writes.clear()
        program.hold.clear()
        turn = actors.operate(batch, done.append)
        await program.writes.wait()
        turn.retract()
        await asyncio.sleep(0.01)
        late = await browser.post("/Counter/a/state", json=[{"operation": "upsert", "request": {"key": "value"}}])
        assert late.status_code == 400
        actors.operate(batch, done.append)
        await is_seen()
        begun = program.asked.count("Add a")
        program.hold.set()
        await _until(lambda: done)
        (result,) = done
        return read_operation("Add", result.results[0].result).data, begun


def test_a_method_whose_turn_was_taken_back_writes_nothing_into_the_next(run, url):
    assert run(lambda: _taken_back(url, Program(), lambda: asyncio.sleep(0.3))) == (b"5", 1)


def test_without_waiting_for_it_two_methods_of_an_actor_run_at_once(run, url, monkeypatch):
    def forget(self, entity, asking):
        """Let it be."""

    monkeypatch.setattr(AppActors, "_leave", forget)
    program = Program()
    _, begun = run(lambda: _taken_back(url, program, lambda: _until(lambda: program.asked.count("Add a") == 2)))
    assert begun == 2


@pytest.mark.long
def test_a_server_that_stops_lets_a_method_end(run, url):
    async def scenario():
        program = Program()
        async with HttpListener(program.app, port=0, drain_seconds=0) as listening:
            async with httpx.AsyncClient(trust_env=False, verify=False) as caller:
                async with served(url, program, listening.port, drain_seconds=5.0) as browser:
                    program.hold.clear()
                    asking = asyncio.create_task(caller.post(f"{browser.base_url}Counter/a/method/Add", json=3))
                    await program.writes.wait()
                    asyncio.get_running_loop().call_later(0.2, program.hold.set)
                assert (await asking).json() == 3
            async with served(url, program, listening.port) as browser:
                assert await add(browser, "a", 0) == 3
        assert program.asked.count("Add a") == 2

    run(scenario)


def test_a_transaction_is_checked_and_is_a_methods_own(run, url):
    async def scenario():
        program = Program()
        async with hosted(url, program) as browser:
            program.hold.clear()
            asking = asyncio.create_task(add(browser, "x", 5))
            await program.writes.wait()
            operations = [
                {"operation": "upsert", "request": {"key": "a", "value": {"n": 1}, "metadata": {"ttlInSeconds": "60"}}},
                {"operation": "upsert", "request": {"key": "b"}},
                {"operation": "delete", "request": {"key": "none"}},
            ]
            assert (await browser.post("/Counter/x/state", json=operations)).status_code == 204
            for body, part in (
                ([{"operation": "add", "request": {"key": "a"}}], "upsert and delete"),
                ([{"operation": "upsert", "request": {"key": ""}}], "1 to 1,024 characters"),
                (
                    [{"operation": "upsert", "request": {"key": "a", "metadata": {"ttlInSeconds": "soon"}}}],
                    "no number of seconds",
                ),
                ({"operation": "upsert"}, "cannot be read"),
            ):
                refused = await browser.post("/Counter/x/state", json=body)
                assert (refused.status_code, part in refused.text) == (400, True), refused.text
            program.hold.set()
            assert await asking == 5
            found = await browser.get("/Counter/x/state/a")
            assert (found.json(), "metadata.ttlexpiretime" in found.headers) == ({"n": 1}, True)
            assert (await browser.get("/Counter/x/state/b")).content == b"null"
            late = await browser.post("/Counter/x/state", json=operations)
            assert (late.status_code, "only its methods change its state" in late.text) == (400, True)
            assert (await browser.post("/A%40B/x/state", json=[])).status_code == 400

    run(scenario)


async def _until(condition):
    while not condition():
        await asyncio.sleep(0.01)


def test_reminders_come_as_often_as_was_asked(run, url):
    async def scenario():
        program = Program()
        async with hosted(url, program) as browser:
            late, path = "/Counter/late/reminders/wake", "/Counter/r/reminders/wake"
            timing = {"dueTime": "1h", "data": {"by": 2}}
            assert (await browser.post(late, json=timing)).status_code == 204
            assert (await browser.get(late)).json() == timing
            timing = {"dueTime": "10ms", "period": "R3/PT0.02S", "data": {"by": 2}}
            assert (await browser.post(path, json=timing)).status_code == 204
            await _gone(browser, path)
            await asyncio.sleep(0.1)
            assert program.reminded == [timing] * 3
            refused = await browser.post(path, json={"dueTime": "soon"})
            assert (refused.status_code, "the due time 'soon' cannot be read" in refused.text) == (400, True)

    run(scenario)


@pytest.mark.long
def test_a_reminder_that_fails_is_tried_again_unless_it_is_to_be_dropped(run, url):
    async def scenario():
        program = Program()
        async with hosted(url, program) as browser:
            program.failing = 1
            await browser.post("/Counter/r/reminders/wake", json={"dueTime": "0s"})
            await _until(lambda: len(program.reminded) == 2)
            program.failing = 1
            await browser.post("/Counter/r/reminders/drop", json={"dueTime": "0s", "failurePolicy": {"drop": {}}})
            await _until(lambda: len(program.reminded) == 3)
            await _gone(browser, "/Counter/r/reminders/drop")
            program.cancels = True
            await browser.post("/Counter/r/reminders/stop", json={"dueTime": "0s", "period": "10ms"})
            await _until(lambda: len(program.reminded) == 4)
            await _gone(browser, "/Counter/r/reminders/stop")

    run(scenario)


async def _gone(browser, path):
    while (await browser.get(path)).status_code != 404:
        await asyncio.sleep(0.01)


def test_timers_come_and_are_stopped(run, url):
    async def scenario():
        program = Program()
        async with hosted(url, program) as browser:
            await add(browser, "t", 1)
            timing = {"dueTime": "10ms", "period": "10ms", "callback": "ticked", "data": [1]}
            assert (await browser.put("/Counter/t/timers/tick", json=timing)).status_code == 204
            await _until(lambda: len(program.reminded) >= 3)
            assert program.reminded[0] == timing
            assert (await browser.delete("/Counter/t/timers/tick")).status_code == 204
            await add(browser, "t", 0)  # because what is under way ends before it
            seen = len(program.reminded)
            await asyncio.sleep(0.1)
            assert len(program.reminded) == seen

    run(scenario)


@pytest.mark.long
def test_calls_wait_for_a_program_that_was_there_and_are_refused_for_none(run, url, monkeypatch):
    monkeypatch.setattr(module, "HOST_SECONDS", 1.0)
    monkeypatch.setattr(http_host, "LOOK_SECONDS", 0.05)

    async def scenario():
        program, port = Program(), free_port()
        async with served(url, program, port) as browser:
            async with HttpListener(program.app, port=port, drain_seconds=0):
                assert await add(browser, "a", 1) == 1
            asking = asyncio.create_task(add(browser, "a", 1))
            await asyncio.sleep(0.2)
            assert not asking.done()
            async with HttpListener(program.app, port=port, drain_seconds=0):
                assert await asking == 2
                nobody = await browser.post("/Nobody/1/method/Get")
            assert (nobody.status_code, "no program hosts actors of type 'Nobody'" in nobody.text) == (503, True)

    run(scenario)
