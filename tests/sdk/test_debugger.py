"""Time-travel: a recorded run at each of its events, back and forth, and as a what-if that writes nowhere."""

from __future__ import annotations

import asyncio
import functools
import gc
import io

import pytest

import perdure
from perdure import (
    App,
    Client,
    Codec,
    Debugger,
    KeyRing,
    Secret,
    WorkflowContext,
    continue_as_new,
    on_update,
    patched,
    wait_for_event,
)
from perdure.codec import encode
from perdure.errors import InvalidArgument, NotOpen, VersionNotRegistered, WorkflowNotRegistered
from perdure.history.actions import CompleteRun, CreateTimer, RecordPatch, ScheduleActivity, WaitForEvent
from perdure.history.events import (
    ActivityCompleted,
    ActivityScheduled,
    ChildCompleted,
    RunCancelRequested,
    RunCompleted,
    RunResumed,
    RunStarted,
    RunSuspended,
    TimerCreated,
    TurnStarted,
    UpdateAnswered,
    UpdateRequested,
)
from perdure.history.recording import Recording
from perdure.sdk.debugger import debug_recording
from perdure.sdk.frames import VALUE_CHARACTERS_MAX
from perdure.sdk.watchdog import LOOK_SECONDS, TURN_SECONDS_MAX
from perdure.testing import Environment

START = RunStarted(name="main", input=encode(1), execution="ab" * 16)
FIRST = [TurnStarted(at=1), START, ActivityScheduled(number=1, name="act")]
SECOND = [TurnStarted(at=2), ActivityCompleted(number=1, result=encode(5)), ActivityScheduled(number=2, name="act")]
LAST = [TurnStarted(at=3), ActivityCompleted(number=2, result=encode(6)), RunCompleted(status="completed")]
WHOLE = FIRST + SECOND + LAST


def an_app(code, **more):
    app = App("unit", **more)
    ran = []

    @app.activity
    async def act(x: int) -> int:
        ran.append(x)
        return x

    app.workflow(name="main")(code(act))
    return app, ran


def two_steps(act):
    async def helper(x: int) -> int:
        got = await act(x)
        return got * 2

    async def main(x: int) -> int:
        first = await helper(1)
        return first + await act(2)

    return main


def line(frame):
    return frame.source, frame.function


def test_it_stops_before_each_event_and_what_the_code_has_seen_is_what_came_before():
    app, ran = an_app(two_steps)
    with Debugger(app, WHOLE) as debug:
        assert debug.at == 10
        assert debug.next_event is None
        assert isinstance(debug.end, CompleteRun)
        seen = {}
        for number in range(1, 11):
            assert debug.goto(number).at == number
            seen[number] = [line(frame) for frame in debug.where()]
        in_helper, in_main = ("got = await act(x)", "helper"), ("return first + await act(2)", "main")
        assert seen[1] == seen[2] == []  # because the start itself is event 2
        assert seen[3] == seen[4] == seen[5] == [in_helper]
        assert seen[6] == seen[7] == seen[8] == [in_main]
        assert seen[9] == seen[10] == []
    assert ran == []


def test_forward_and_back_are_a_step_each_and_stop_at_the_ends():
    app, _ = an_app(two_steps)
    with Debugger(app, WHOLE, at=5) as debug:
        assert debug.next_event == WHOLE[4]
        assert "first" not in debug.locals()
        assert debug.forward().locals()["first"] == "10"
        assert "first" not in debug.back().locals()
        assert debug.goto(1).back().at == 1
        assert debug.goto(10).forward().at == 10


def test_every_frame_of_a_task_is_there_outermost_first():
    app, _ = an_app(two_steps)
    with Debugger(app, WHOLE, at=3) as debug:
        (task,) = debug.tasks
        assert [frame.function for frame in task.frames] == ["main", "helper"]
        assert task.name == "main"
        assert str(task).endswith("in helper")


def test_the_tasks_of_a_fan_out_stand_each_at_their_own_line():
    def code(act):
        async def one(x):
            await act(x)
            await wait_for_event("go")

        async def main(x: int) -> None:
            async with asyncio.TaskGroup() as group:
                for each in (1, 2):
                    group.create_task(one(each), name=f"one {each}")

        return main

    app, _ = an_app(code)
    turn = [TurnStarted(at=2), ActivityCompleted(number=2)]
    events = [*FIRST, ActivityScheduled(number=2, name="act"), *turn]
    with Debugger(app, events) as debug:
        assert [(task.name, task.frames[-1].source) for task in debug.tasks[1:]] == [
            ("one 1", "await act(x)"),
            ("one 2", 'await wait_for_event("go")'),
        ]
        assert [debug.locals(task)["x"] for task in (1, 2)] == ["1", "2"]
        assert [type(wait) for wait in debug.waits] == [ScheduleActivity, WaitForEvent]
        with pytest.raises(InvalidArgument, match="there are 3"):
            debug.locals(3)


def test_what_the_code_waits_for_and_has_asked():
    def code(act):
        async def main(x: int) -> None:
            try:
                async with asyncio.timeout(60):
                    await act(1)
            except TimeoutError:
                await wait_for_event("go")

        return main

    app, _ = an_app(code)
    held = [*FIRST[:2], TimerCreated(number=1, due=60_000_001), ActivityScheduled(number=2, name="act")]
    with Debugger(app, held) as debug:
        assert [(type(wait), wait.number) for wait in debug.waits] == [(CreateTimer, 1), (ScheduleActivity, 2)]
        debug.answer(1)
        assert [(type(wait), wait.name) for wait in debug.waits] == [(WaitForEvent, "go")]
        assert debug.asked[-1] is debug.waits[0]


def test_a_what_if_goes_on_in_memory_and_back_takes_it_back():
    app, ran = an_app(two_steps)
    with Debugger(app, WHOLE, at=5) as debug:
        assert debug.answer(1, 100).locals()["first"] == "200"
        assert debug.next_event is None
        assert len(debug.invented) == 1
        debug.forward()
        assert len(debug.invented) == 1
        assert debug.answer(2, 1).output == 201
        with pytest.raises(InvalidArgument, match="has ended"):
            debug.raise_event("go")
        assert debug.back().locals()["first"] == "200"
        assert debug.back().next_event == WHOLE[4]
        assert debug.fail(1, KeyError("gone")).end.status == "failed"
        assert debug.goto(6).locals()["first"] == "10"
    assert ran == []


def test_a_call_without_a_recorded_result_stays_open():
    app, ran = an_app(two_steps)
    with Debugger(app, FIRST) as debug:
        assert [wait.number for wait in debug.waits] == [1]
        assert debug.forward().at == 4
    assert ran == []


def test_events_and_cancellation_can_be_invented():
    def code(act):
        async def main(x: int) -> str:
            try:
                return await wait_for_event("go", str)
            except asyncio.CancelledError:
                await act(9)
                raise

        return main

    app, _ = an_app(code)
    with Debugger(app, FIRST[:2]) as debug:
        assert debug.raise_event("GO", "yes").output == "yes"
        debug.back().what_if(RunCancelRequested())
        assert [wait.name for wait in debug.waits] == ["act"]
        assert debug.answer(1, 9).end.status == "canceled"


@pytest.mark.parametrize(
    "wrong, words",
    [
        (lambda debug: debug.goto(0), "number of an event"),
        (lambda debug: debug.goto(99), "there are 3 events; go to 1 to 4"),
        (lambda debug: debug.answer(7), "it waits for 1"),
        (lambda debug: debug.fail(1, "text"), "give an exception"),
        (lambda debug: debug.what_if("text"), "cannot be invented"),
        (lambda debug: debug.what_if(RunSuspended()), "cannot be invented"),
        (lambda debug: debug.raise_event(""), "name"),
        (lambda debug: debug.step_into(), "no event comes"),
    ],
)
def test_mistakes_say_what_to_do(wrong, words):
    app, _ = an_app(two_steps)
    with Debugger(app, FIRST) as debug, pytest.raises(InvalidArgument, match=words):
        wrong(debug)


def test_other_code_stops_at_the_difference_and_says_it():
    def other(act):
        async def main(x: int) -> int:
            await act(1)
            await asyncio.sleep(5)
            return await act(2)

        return main

    app, _ = an_app(other)
    with Debugger(app, WHOLE) as debug:
        assert debug.at == 6
        assert debug.next_event == WHOLE[5]
        assert debug.stall.reason == "non-determinism"
        assert "history holds ActivityScheduled(act), the code asked for CreateTimer" in debug.stall.description
        assert debug.where()[0].source == "await asyncio.sleep(5)"
        assert debug.forward().at == 6
        with pytest.raises(InvalidArgument, match="stands still"):
            debug.raise_event("go")
        assert debug.back().stall is None


def test_code_that_is_not_there_is_an_error():
    with pytest.raises(WorkflowNotRegistered):
        Debugger(App("empty"), WHOLE)
    app, _ = an_app(two_steps)
    with pytest.raises(VersionNotRegistered):
        Debugger(app, WHOLE, version="7")
    with pytest.raises(InvalidArgument, match="no RunStarted"):
        Debugger(app, WHOLE[:1])


def test_what_a_suspended_run_is_told_comes_when_it_is_resumed():
    app, _ = an_app(two_steps)
    held = [TurnStarted(at=2), RunSuspended(), TurnStarted(at=3), ActivityCompleted(number=1, result=encode(5))]
    events = [*FIRST, *held, TurnStarted(at=4), RunResumed()]
    with Debugger(app, events) as debug:
        assert [debug.goto(number).locals().get("first") for number in (8, 9, 10)] == [None, None, "10"]


def test_a_patch_keeps_the_side_that_history_holds_and_a_what_if_takes_the_new_one():
    def code(act):
        async def main(x: int) -> str:
            await act(1)
            side = "new" if patched("change") else "old"
            return await wait_for_event("go", str) + side

        return main

    app, _ = an_app(code)
    with Debugger(app, [*FIRST, *SECOND[:2]]) as debug:
        assert debug.locals()["side"] == "'old'"
        assert debug.goto(5).answer(1, 1).locals()["side"] == "'new'"
        assert RecordPatch(name="change") in debug.asked
    with Debugger(app, [*FIRST, TurnStarted(at=2, patches=["change"]), SECOND[1]]) as debug:
        assert debug.locals()["side"] == "'new'"


def test_a_refused_update_stays_refused_although_its_turn_is_cut_short():
    def code(act):
        async def main(x: int) -> int:
            total = 0

            def positive(data: int) -> None:
                raise AssertionError("history knows the answer")

            @on_update("add", validator=positive)
            def add(data: int) -> None:
                nonlocal total
                total += data

            await wait_for_event("go")
            return total

        return main

    app, _ = an_app(code)
    asked = [UpdateRequested(key="a", name="add", data=encode(1)), UpdateRequested(key="b", name="add", data=encode(2))]
    answers = [UpdateAnswered(key="a", refused=True), UpdateAnswered(key="b")]
    with Debugger(app, [*FIRST[:2], TurnStarted(at=2), *asked, *answers]) as debug:
        assert [debug.goto(number).locals()["total"] for number in (4, 5, 6, 8)] == ["0", "0", "2", "2"]


def test_a_generator_shows_its_own_frame():
    app = App("unit")

    @app.activity
    async def act(x: int) -> int:
        return x

    @app.workflow(name="main")
    def main(ctx: WorkflowContext, x: int):
        before = x + 1
        got = yield ctx.call_activity(act, input=before)
        yield ctx.wait_for_external_event("go")
        return got

    with Debugger(app, [*FIRST, *SECOND[:2]]) as debug:
        assert debug.where()[0].source == 'yield ctx.wait_for_external_event("go")'
        assert (debug.locals()["before"], debug.locals()["got"]) == ("2", "5")


def test_mail_that_no_turn_has_taken_comes_after_the_history():
    app, _ = an_app(two_steps)
    came = ActivityCompleted(at=9, number=1, result=encode(7))
    with Debugger(app, FIRST, waiting=[came]) as debug:
        assert debug.at == 4
        assert debug.next_event == came
        assert debug.forward().locals()["first"] == "14"
        assert "first" not in debug.back().locals()
    with Debugger(app, [], waiting=[START]) as debug:
        assert debug.where() == []
        assert debug.forward().where()[0].function == "helper"


def test_values_are_bounded_and_secrets_stay_masked():
    def code(act):
        async def main(x: int) -> None:
            long, pin = "x" * 100_000, Secret("hunter2")
            held = {"pin": pin, "many": list(range(10_000))}
            await act(len(held) + len(long))

        return main

    app, _ = an_app(code)
    with Debugger(app, FIRST) as debug:
        shown = debug.locals()
    assert "hunter2" not in str(shown)
    assert shown["pin"] == "Secret(***)"
    assert all(len(value) <= VALUE_CHARACTERS_MAX for value in shown.values())


def test_a_value_that_cannot_be_shown_hides_no_other():
    class Broken:
        def __repr__(self):
            raise LookupError

    def code(act):
        async def main(x: int) -> None:
            broken, good = Broken(), 1
            await act(good if broken else 0)

        return main

    app, _ = an_app(code)
    with Debugger(app, FIRST) as debug:
        assert "Broken" in debug.locals()["broken"]
        assert debug.locals()["good"] == "1"


def test_code_that_is_left_behind_runs_no_activity():
    def code(act):
        async def main(x: int) -> None:
            try:
                await wait_for_event("go")
            finally:
                await act(66)

        return main

    app, ran = an_app(code)
    debug = Debugger(app, FIRST[:2])
    debug.goto(3).goto(1).goto(3)
    del debug
    gc.collect()
    assert ran == []


def test_a_closed_debugger_says_so():
    app, _ = an_app(two_steps)
    debug = Debugger(app, FIRST)
    debug.close()
    debug.close()
    for use in (debug.forward, debug.where, lambda: debug.answer(1)):
        with pytest.raises(NotOpen, match="closed"):
            use()
    assert "before event 4 of 3" in repr(debug)


# -- pdb ----------------------------------------------------------------------------------------------------------


def stepped(debug, *commands):
    out = io.StringIO()
    debug.step_into(stdin=io.StringIO("\n".join(commands) + "\n"), stdout=out)
    return out.getvalue()


def test_pdb_stops_at_the_line_that_the_next_event_leads_to():
    app, _ = an_app(two_steps)
    with Debugger(app, WHOLE, at=4) as debug:
        told = stepped(debug, "p got", "n", "n", "p first", "c")
        assert told.index("return got * 2") < told.index("(Pdb) 5") < told.index("(Pdb) 10")
        assert debug.at == 6  # because the beginning of the turn is no event that code sees


def test_pdb_leaves_out_what_lies_between_the_frames_of_the_user():
    app, _ = an_app(two_steps)
    with Debugger(app, WHOLE, at=5) as debug:
        told = stepped(debug, *["s"] * 30)
    assert "test_debugger.py" in told
    assert "perdure/sdk" not in told
    assert "asyncio" not in told


def test_what_is_changed_in_pdb_and_who_quits_it_changes_nothing():
    app, _ = an_app(two_steps)
    with Debugger(app, WHOLE, at=5) as debug:
        stepped(debug, "!got = 1000", "q")
        assert debug.at == 6
        assert debug.locals()["first"] == "10"


def in_a_loop(test):
    @functools.wraps(test)
    def run(**fixtures):
        asyncio.run(test(**fixtures))

    return run


# -- where the history comes from ---------------------------------------------------------------------------------


@in_a_loop
async def test_a_handle_of_an_open_app_is_debugged_beside_the_run():
    app = App("unit", store="memory:")
    ran = []

    @app.activity
    async def act(x: int) -> int:
        ran.append(x)
        return x

    @app.workflow
    async def main(x: int) -> str:
        got = await act(x)
        return await wait_for_event("go", str) * got

    async with app:
        handle = await main.start(2)
        async with asyncio.timeout(30):
            while (await handle.explain()).cause != "event":
                await asyncio.sleep(0.01)
        before = [event async for event in handle.history()]
        with await handle.debug() as debug:
            assert debug.id == handle.id
            assert debug.events == before
            assert debug.raise_event("go", "no").output == "nono"
        with await handle.debug(at=3) as debug:
            assert debug.locals()["x"] == "2"
        assert [event async for event in handle.history()] == before
        await handle.raise_event("go", "yes")
        assert await handle.result(30) == "yesyes"
    assert ran == [2]


@in_a_loop
async def test_a_client_from_outside_is_given_the_app(tmp_path):
    app, _ = an_app(two_steps, store=f"sqlite:///{tmp_path}/unit.db")
    async with app:
        await (await app.definitions.workflows["main"].with_options(id="a").start(1)).result(30)
    async with Client(f"sqlite:///{tmp_path}/unit.db") as client:
        with pytest.raises(InvalidArgument, match=r"handle\.debug\(app\)"):
            await client.get("a").debug()
        with await client.get("a").debug(app, at=5) as debug:
            assert "first" not in debug.locals()


def test_under_a_test_environment_too():
    app, _ = an_app(two_steps)
    with Environment(app):

        async def look():
            handle = await app.definitions.workflows["main"].start(1)
            await handle.result()
            return await handle.debug(at=3)

        with asyncio.run(look()) as debug:
            assert debug.where()[0].function == "helper"


@in_a_loop
async def test_packed_payloads_are_read_by_the_codec_of_the_app(tmp_path):
    codec = Codec(compress=True, keys=KeyRing({"k1": KeyRing.new_key()}))
    app = App("vault", store=f"sqlite:///{tmp_path}/vault.db", codec=codec)

    @app.activity
    async def keep(pin: Secret[str]) -> Secret[str]:
        return pin

    @app.workflow
    async def main(name: str) -> str:
        pin = await keep(Secret("hunter2"))
        return await wait_for_event("go", str) + name + pin.reveal()[:0]

    async with app:
        handle = await main.with_options(id="a").start("ada")
        async with asyncio.timeout(30):
            while (await handle.explain()).cause != "event":
                await asyncio.sleep(0.01)
        with await handle.debug() as debug:
            assert debug.stall is None
            assert (debug.locals()["name"], debug.locals()["pin"]) == ("'ada'", "Secret(***)")
            assert debug.raise_event("go", "x").output == "xada"
    held = await recorded(tmp_path, "vault", "a")
    with await debug_recording(app, held) as debug:
        assert debug.stall is None
        assert (debug.locals()["name"], debug.locals()["pin"]) == ("'ada'", "Secret(***)")
    blind = App("vault").include(app)
    with await debug_recording(blind, held) as debug:
        assert debug.stall.reason == "key-missing"


async def recorded(folder, app, id) -> Recording:
    from perdure.cli import recordings

    async with recordings.looking(f"sqlite:///{folder}/{app}.db") as store:
        return await recordings.one(store, app, id)


def test_the_name_is_public_and_costs_nothing_unless_it_is_used():
    assert "Debugger" in perdure.__all__
    assert perdure.Debugger is Debugger


@pytest.mark.long
@in_a_loop
async def test_the_bound_on_the_time_of_a_turn_does_not_apply():
    app, _ = an_app(two_steps, store="memory:")
    async with app:
        handle = await app.definitions.workflows["main"].start(1)
        await handle.result(30)
        with await handle.debug(at=4) as debug:
            seconds = TURN_SECONDS_MAX + 3 * LOOK_SECONDS
            told = stepped(debug, f"!__import__('time').sleep({seconds})", "p got", "c")
            assert debug.stall is None
    assert "(Pdb) 1" in told
    assert "Interrupted" not in told


def test_who_gives_no_app_is_told_so():
    with pytest.raises(InvalidArgument, match="is no App"):
        Debugger("shop:app", WHOLE)


@in_a_loop
async def test_reruns_children_and_later_generations_are_runs_like_any_other():
    app = App("unit", store="memory:")

    @app.activity
    async def act(x: int) -> int:
        return x

    @app.workflow
    async def inner(x: int) -> int:
        return await act(x)

    @app.workflow
    async def outer(x: int) -> int:
        got = await inner(x)
        if x < 3:
            continue_as_new(x + 1)
        return got + await act(1)

    async with app:
        handle = await outer.start(2)
        assert await handle.result(30) == 4
        again = await handle.rerun(2)
        assert await again.result(30) == 4
        for each in (handle, again):
            with await each.debug() as debug:
                assert (debug.stall, debug.output) == (None, 4)
                child = next(n for n, event in enumerate(debug.events, 1) if isinstance(event, ChildCompleted))
                debug.goto(child)
                assert (debug.where()[0].source, debug.locals()["x"]) == ("got = await inner(x)", "3")
                assert debug.answer(1, 10).answer(2, 5).output == 15
