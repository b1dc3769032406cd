"""Every public call checks what it is given: an error with code and remedy; nothing half-written."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

import perdure
from perdure import (
    ActivityFailed,
    App,
    Client,
    PerdureError,
    Retry,
    WorkflowFailed,
    activity_context,
    continue_as_new,
    raise_event,
    set_status,
    wait_for_event,
)
from perdure.errors import (
    AlreadyRegistered,
    InvalidArgument,
    NotDeterministic,
    NotEncodable,
    NotOpen,
    NotStarted,
    OnlyInWorkflow,
    PayloadTooLarge,
    UnknownConfiguration,
)

HUGE = "x" * 9_000_000
HUGE_TOLD = "bound is 8,388,608"
CODE = re.compile(r"\[PERDURE-1\d{3}\]$")


def expect(kind: type[PerdureError], call: Any, *words: str) -> None:
    """The call raises the error, with its code and with the words that say what was wrong."""
    with pytest.raises(PerdureError) as caught:
        call()
    assert type(caught.value) is kind
    text = str(caught.value)
    assert CODE.search(text)
    assert len(text) < 2_000
    for word in words:
        assert word in text


async def expect_async(kind: type[PerdureError], awaitable: Any, *words: str) -> None:
    with pytest.raises(PerdureError) as caught:
        await awaitable
    assert type(caught.value) is kind
    assert CODE.search(str(caught.value))
    for word in words:
        assert word in str(caught.value)


async def nothing(x: object) -> None:
    return None


@pytest.fixture
def app(url):
    app = App("bad", store=url)

    @app.workflow
    async def main(x: int) -> int:
        return x

    return app


# -- app -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", ["", "x" * 300, "a\nb", None, 5, b"x"], ids=repr)
def test_an_app_needs_a_printable_id(id):
    expect(InvalidArgument, lambda: App(id))


@pytest.mark.parametrize(
    "settings",
    [
        {"slots": "many"},
        {"slots": -1},
        {"standby": 1},
        {"drain_seconds": None},
        {"quarantine_deaths": 1},
        {"quarantine_deaths": "never"},
        {"slots": True},
        {"threads": 0},
        {"drain_seconds": float("nan")},
    ],
    ids=repr,
)
def test_a_setting_has_a_kind(settings):
    expect(InvalidArgument, lambda: App("bad", **settings), next(iter(settings)))


def test_an_unknown_setting_is_named_with_those_there_are():
    expect(UnknownConfiguration, lambda: App("bad", slotz=1), "slotz", "slots")
    expect(InvalidArgument, lambda: App("bad", slots_by_name=5), "slots_by_name={'charge': 5}")
    expect(InvalidArgument, lambda: App("bad", slots_by_name={"charge": 0}), "slots_by_name['charge']")


@pytest.mark.parametrize("store", ["", "oracle://x", "sqlite", 5, "sqlite:///"], ids=repr)
def test_a_store_has_an_address(run, store):
    async def scenario():
        app = App("bad", store=store)
        if store == "":
            return
        with pytest.raises(PerdureError, match=r"PERDURE-1"):
            await app.open()

    run(scenario)


def test_what_is_not_open_says_how_to_open_it(app, url, run):
    expect(NotOpen, lambda: app.client, "async with app")
    expect(NotOpen, lambda: Client(url).gateway, "async with Client")

    async def scenario():
        await expect_async(NotOpen, app.definitions.workflows["main"].start(1), "async with app")
        async with app:
            await expect_async(InvalidArgument, app.open(), "open already")
        await app.close()
        expect(NotOpen, lambda: app.client)

    run(scenario)


def test_a_handle_that_outlives_its_app_says_so(app, run):
    async def scenario():
        async with app:
            handle = await app.client.workflow("main").start(1)
            await handle.result()
            client = app.client
        await expect_async(NotOpen, handle.state())
        await expect_async(NotOpen, client.workflow("main").start(1))

    run(scenario)


def test_names_are_registered_once(app):
    async def other(x: int) -> int:
        return x

    expect(AlreadyRegistered, lambda: app.workflow(name="main")(other), "'main'", "name=")
    app.activity(name="act")(other)
    expect(AlreadyRegistered, lambda: app.activity(name="act")(lambda: 1), "'act'")
    expect(AlreadyRegistered, lambda: App("x").include(app).workflow(name="main")(other))


@pytest.mark.parametrize("name", ["", "x" * 300, "a\nb", 5], ids=repr)
def test_names_are_printable(app, name):
    def function() -> None: ...

    expect(InvalidArgument, lambda: app.activity(name=name)(function))
    expect(InvalidArgument, lambda: app.workflow(name=name)(function))


def test_decorators_take_functions_of_the_right_kind(app):
    expect(InvalidArgument, lambda: app.workflow(lambda: 1), "async def")
    expect(InvalidArgument, lambda: app.workflow(5))
    expect(InvalidArgument, lambda: app.activity("charge"))
    expect(InvalidArgument, lambda: app.activity(lambda: 1), "name=")
    expect(InvalidArgument, lambda: app.activity(partial(print, 1)), "name=")
    expect(InvalidArgument, lambda: app.activity(App), "no function")
    expect(InvalidArgument, lambda: app.activity(app.definitions.workflows["main"]), "registered already")
    expect(InvalidArgument, lambda: app.workflow(app.definitions.workflows["main"]), "registered already")
    expect(InvalidArgument, lambda: app.include(5), "an App, an agent, a module")

    async def generator():
        yield 1

    def without_context():
        yield 1

    class Callable:
        async def __call__(self) -> int:
            return 1

    expect(InvalidArgument, lambda: app.workflow(without_context), "WorkflowContext")
    expect(InvalidArgument, lambda: app.activity(name="c")(Callable()), "no function")
    expect(InvalidArgument, lambda: app.workflow(generator), "async def")


def test_a_client_is_refused_in_workflow_code_and_the_engine_stays_well(run, url):
    app = App("bad", store=url)

    @app.workflow
    async def child() -> int:
        return 1

    @app.workflow
    async def waits() -> int:
        return await (await child.start()).result()

    @app.workflow
    async def looks() -> str:
        return (await app.client.get("x").state()).id

    async def scenario():
        async with app:
            for workflow in (waits, looks):
                handle = await workflow.start()
                with pytest.raises(WorkflowFailed, match=r"NotInWorkflow: .*await the child"):
                    await handle.result(30)
            return await (await child.start()).result(30)

    assert run(scenario) == 1


def test_code_that_cannot_be_replayed_is_refused_at_once(app):
    async def clocky() -> str:
        return str(datetime.now())  # noqa: DTZ005 what the lint is for

    expect(NotDeterministic, lambda: app.workflow(clocky), "perdure.now")


# -- options -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"max_attempts": "3"},
        {"max_attempts": 1.5},
        {"initial_interval": -1},
        {"initial_interval": "1"},
        {"initial_interval": float("inf")},
        {"backoff": 0.5},
        {"backoff": float("nan")},
        {"backoff": float("inf")},
        {"jitter": 2},
        {"jitter": None},
        {"max_interval": -1},
        {"max_interval": float("nan")},
        {"max_interval": "x"},
        {"total_timeout": -1},
        {"non_retryable": ValueError},
        {"non_retryable": (5,)},
        {"non_retryable": "ValueError"},
    ],
    ids=repr,
)
def test_retry_checks_its_fields(wrong):
    expect(InvalidArgument, lambda: Retry(**wrong), next(iter(wrong)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": "5"},
        {"timeout": timedelta(0)},
        {"timeout": float("inf")},
        {"heartbeat_timeout": 0},
        {"retry": 3},
        {"timeout": True},
        {"app_id": 5},
    ],
    ids=repr,
)
def test_activity_options(app, wrong):
    @app.activity
    async def act() -> None: ...

    if "app_id" not in wrong:
        expect(InvalidArgument, lambda: app.activity(**wrong), next(iter(wrong)))
    expect(InvalidArgument, lambda: act.with_options(**wrong), next(iter(wrong)))


ODD_IDS = ["", "x" * 10_240, "a\nb", "a\x00b", "\x7f", "half \ud800", 5, b"x", "ä" * 600]
GOOD_IDS = [
    "ä ö 日本 🚀",
    'it\'s "quoted"; drop table instances; --',
    "%_*?[x]\\",
    " ",
    "x" * 1_024,
    "a/b:c.d#e",
]


@pytest.mark.parametrize("id", ODD_IDS, ids=lambda id: repr(id)[:20])
def test_an_odd_id_is_refused_everywhere_before_anything_is_written(app, run, id):
    main = app.definitions.workflows["main"]

    async def scenario():
        async with app:
            expect(InvalidArgument, lambda: main.with_options(id=id))
            expect(InvalidArgument, lambda: app.client.workflow("main").with_options(id=id))
            expect(InvalidArgument, lambda: app.client.get(id))
            done = await main.start(1)
            await done.result()
            await expect_async(InvalidArgument, done.rerun(1, id=id))
            return len([state async for state in app.client.list()])

    assert run(scenario) == 1


@pytest.mark.parametrize("id", GOOD_IDS, ids=lambda id: repr(id)[:20])
def test_a_strange_but_valid_id_works_everywhere(app, run, id):
    main = app.definitions.workflows["main"]

    async def scenario():
        async with app:
            handle = await main.with_options(id=id).start(5)
            assert await handle.result(30) == 5
            assert [state.id async for state in app.client.list()] == [id]
            assert [state.id async for state in app.client.list(text=id[:200])] == [id]
            assert (await app.client.get(id).state()).output == 5
            await app.client.get(id).explain()
            return await app.client.get(id).purge()

    assert run(scenario) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"at": "tomorrow"},
        {"at": 5},
        {"tags": {"a": 1}},
        {"tags": ["a"]},
        {"tags": {"a": "half \ud800"}},
        {"if_exists": "replace"},
        {"run_timeout": 0},
        {"run_timeout": -5},
        {"run_timeout": "1h"},
        {"app_id": 5},
    ],
    ids=repr,
)
def test_start_options(app, run, wrong):
    main = app.definitions.workflows["main"]

    async def scenario():
        async with app:
            expect(InvalidArgument, lambda: main.with_options(**wrong), next(iter(wrong)))
            expect(InvalidArgument, lambda: app.client.workflow("main").with_options(**wrong), next(iter(wrong)))

    run(scenario)


def test_an_unknown_option_is_named(app, run):
    async def scenario():
        async with app:
            expect(InvalidArgument, lambda: app.client.workflow("main").with_options(idd="x"), "idd")
            with pytest.raises(TypeError, match="idd"):
                app.definitions.workflows["main"].with_options(idd="x")
            await expect_async(
                InvalidArgument, app.client.workflow("main").with_options(app_id="other").start(1), "other"
            )

    run(scenario)


# -- arguments -----------------------------------------------------------------------------------------------


class Odd:
    pass


CYCLE: list[Any] = []
CYCLE.append(CYCLE)
DEEP: Any = 1
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "value, path",
    [
        (Odd(), "value"),
        ({"a": [1, Odd()]}, "['a'][1]"),
        ([{"x": {"y": Odd()}}], "[0]['x']['y']"),
        (lambda: 1, "value"),
        ({(1, 2): 3}, "value"),
        ("half \ud800", "value"),
        (ValueError("x"), "value"),
        (CYCLE, "value"),
        (DEEP, "value"),
        (1j, "value"),
        (asyncio.Event, "value"),
        (float("nan"), "value"),
        ({"a": [float("inf")]}, "['a'][0]"),
    ],
    ids=[
        "object",
        "nested",
        "deep path",
        "function",
        "tuple key",
        "surrogate",
        "exception",
        "cycle",
        "depth",
        "complex",
        "class",
        "nan",
        "infinity",
    ],
)
def test_a_value_that_cannot_be_stored_is_named_by_its_path(app, run, value, path):
    async def scenario():
        async with app:
            await expect_async(NotEncodable, app.client.workflow("main").start(value), path)
            done = await app.client.workflow("main").with_options(id="d").start(1)
            await expect_async(NotEncodable, done.raise_event("e", value), path)
            await expect_async(NotEncodable, done.terminate(value), path)
            await done.result()
            await expect_async(NotEncodable, done.rerun(1, input=value), path)
            return [state.id async for state in app.client.list()]

    assert run(scenario) == ["d"]


def test_a_value_over_the_bound_is_refused_where_it_is_passed(app, run):
    async def scenario():
        async with app:
            await expect_async(PayloadTooLarge, app.client.workflow("main").start(HUGE), HUGE_TOLD)
            await expect_async(PayloadTooLarge, app.workflow(name="other")(nothing).start(HUGE), HUGE_TOLD)
            return [state.id async for state in app.client.list()]

    assert run(scenario) == []


def test_a_value_over_the_bound_leaves_an_instance_as_it_was(url, run):
    app = App("bound", store=url)
    app.workflow(name="nothing")(nothing)

    @app.workflow
    async def patient() -> int:
        return await wait_for_event("n", int)

    async def scenario():
        async with app:
            done = await app.client.workflow("nothing").start(1)
            await done.result(30)
            handle = await patient.start()
            before = [event async for event in handle.history()]
            await expect_async(PayloadTooLarge, handle.raise_event("n", HUGE), HUGE_TOLD)
            await expect_async(PayloadTooLarge, handle.terminate(HUGE), HUGE_TOLD)
            await expect_async(PayloadTooLarge, handle.suspend(HUGE), HUGE_TOLD)
            await expect_async(PayloadTooLarge, handle.cancel(HUGE), HUGE_TOLD)
            await expect_async(PayloadTooLarge, done.rerun(1, input=HUGE), HUGE_TOLD)
            assert [event async for event in handle.history()] == before
            assert len([state async for state in app.client.list()]) == 2
            await handle.raise_event("n", 5)
            return await handle.result(30)

    assert run(scenario) == 5


def test_an_activity_s_value_over_the_bound_fails_its_call_at_once(url, run):
    app = App("bound", store=url)
    attempts = []

    @app.activity(retry=Retry(max_attempts=3, initial_interval=0.01))
    async def big(how: str) -> str | None:
        attempts.append(how)
        if how == "heartbeat":
            activity_context().heartbeat(HUGE)
        return HUGE

    @app.workflow
    async def main(how: str) -> str:
        try:
            await big(how)
        except ActivityFailed as error:
            return f"{error.type}: {error}"
        return "?"

    async def scenario():
        async with app:
            return [await (await main.start(how)).result(30) for how in ("heartbeat", "result")]

    told = run(scenario)
    assert all(one.startswith("PayloadTooLarge: ") and "bound is 8,388,608" in one for one in told)
    assert attempts == ["heartbeat", "result"]


@pytest.mark.parametrize("way", ["status", "event", "result", "child", "detached", "continue"])
def test_workflow_code_that_passes_a_value_over_the_bound_stalls_with_nothing_of_its_turn_written(url, run, way):
    app = App("bound", store=url)
    app.workflow(name="nothing")(nothing)

    @app.workflow
    async def main() -> str:
        set_status("begun")
        match way:
            case "status":
                set_status(HUGE)
            case "event":
                raise_event("other", "n", HUGE)
            case "child":
                await app.definitions.workflows["nothing"](HUGE)
            case "detached":
                await app.definitions.workflows["nothing"].start(HUGE)
            case "continue":
                continue_as_new(HUGE)
        return HUGE

    async def scenario():
        async with app:
            handle = await main.with_options(id="x").start()
            while (state := await handle.state()).stalled is None:
                await asyncio.sleep(0.01)
            history = [event async for event in handle.history()]
            return state, history, [state.id async for state in app.client.list()]

    state, history, ids = run(scenario)
    assert (state.stalled.reason, state.custom_status, history, ids) == ("payload-too-large", None, [], ["x"])
    assert "bound is 8,388,608" in state.stalled.description


def test_arguments_must_fit_the_function(app, run):
    main = app.definitions.workflows["main"]

    async def scenario():
        async with app:
            await expect_async(InvalidArgument, main.start(), "main", "'x'")
            await expect_async(InvalidArgument, main.start(1, 2), "main")
            await expect_async(InvalidArgument, main.start(x=1, y=2), "'y'")
            return [state async for state in app.client.list()]

    assert run(scenario) == []


def test_a_wrong_call_inside_a_workflow_fails_it_with_the_same_words(run, url):
    app = App("bad", store=url)

    @app.activity
    async def act(x: int) -> int:
        return x

    @app.workflow
    async def too_few() -> None:
        await act()  # type: ignore[call-arg]

    @app.workflow
    async def odd() -> None:
        await act({"a": Odd()})  # type: ignore[arg-type]

    @app.workflow
    async def nameless() -> None:
        await perdure.wait_for_event("")

    @app.workflow
    async def to_nobody() -> None:
        perdure.raise_event("", "e")

    async def scenario():
        async with app:
            said = []
            for workflow in (too_few, odd, nameless, to_nobody):
                with pytest.raises(WorkflowFailed) as caught:
                    await (await workflow.start()).result(30)
                said.append(str(caught.value))
            return said

    said = run(scenario)
    assert "'x'" in said[0]
    assert "['a']" in said[1]
    assert "InvalidArgument" in said[2]
    assert "InvalidArgument" in said[3]


def test_what_works_only_inside_says_so_outside(app, run):
    expect(OnlyInWorkflow, perdure.workflow_context)
    expect(OnlyInWorkflow, perdure.activity_context)
    expect(OnlyInWorkflow, lambda: perdure.set_status(1))
    expect(OnlyInWorkflow, lambda: perdure.continue_as_new(1))
    expect(OnlyInWorkflow, lambda: perdure.raise_event("x", "e"))
    expect(NotStarted, lambda: app.definitions.workflows["main"](1), ".start(")

    async def scenario():
        await expect_async(OnlyInWorkflow, perdure.wait_for_event("e"))

    run(scenario)


# -- client --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", 5, None, "x" * 300, "a\nb", "half \ud800"], ids=repr)
def test_workflow_and_event_names(app, run, name):
    async def scenario():
        async with app:
            expect(InvalidArgument, lambda: app.client.workflow(name))
            handle = await app.client.workflow("main").start(1)
            await expect_async(InvalidArgument, handle.raise_event(name))

    run(scenario)


@pytest.mark.parametrize("timeout", [-1, "5", float("nan"), True], ids=repr)
def test_result_timeout(app, run, timeout):
    async def scenario():
        async with app:
            handle = await app.client.workflow("main").start(1)
            await expect_async(InvalidArgument, handle.result(timeout), "timeout")

    run(scenario)


@pytest.mark.parametrize("method", ["cancel", "suspend", "resume"])
def test_reasons_are_text(app, run, method):
    async def scenario():
        async with app:
            handle = await app.client.workflow("main").start(1)
            await expect_async(InvalidArgument, getattr(handle, method)(5), "reason")
            await expect_async(InvalidArgument, getattr(handle, method)("half \ud800"), "reason")

    run(scenario)


@pytest.mark.parametrize("method", ["terminate", "purge"])
def test_recursive_is_a_flag(app, run, method):
    async def scenario():
        async with app:
            handle = await app.client.workflow("main").start(1)
            await expect_async(InvalidArgument, getattr(handle, method)(recursive="no"), "recursive")

    run(scenario)


@pytest.mark.parametrize("number", [0, -1, "1", 1.5, True], ids=repr)
def test_rerun_takes_an_event_number(app, run, number):
    async def scenario():
        async with app:
            handle = await app.client.workflow("main").start(1)
            await handle.result()
            await expect_async(InvalidArgument, handle.rerun(number), "from_event")

    run(scenario)


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "happy"},
        {"status": ["failed", "happy"]},
        {"status": 5},
        {"created_after": "yesterday"},
        {"finished_before": 5},
        {"tags": ["a"]},
        {"tags": {"a": 1}},
        {"limit": -1},
        {"limit": "5"},
        {"name": 5},
        {"text": 5},
        {"parent": 5},
        {"suspended": "yes"},
        {"stalled": 1},
    ],
    ids=repr,
)
def test_list_and_batch_filters(app, run, wrong):
    async def scenario():
        async with app:
            await expect_async(InvalidArgument, anext(app.client.list(**wrong)), next(iter(wrong)))
            await expect_async(InvalidArgument, app.client.purge_all(**wrong), next(iter(wrong)))
            await expect_async(InvalidArgument, app.client.terminate_all(**wrong), next(iter(wrong)))

    run(scenario)


def test_an_unknown_filter_is_named(app, run):
    async def scenario():
        async with app:
            for batch in (
                app.client.purge_all,
                app.client.cancel_all,
                app.client.suspend_all,
                app.client.resume_all,
                app.client.terminate_all,
            ):
                with pytest.raises((InvalidArgument, TypeError), match="nmae"):
                    await batch(nmae="x")

    run(scenario)


def test_a_client_needs_to_know_which_app(url, run):
    async def scenario():
        for name in ("one", "two"):
            async with App(name, store=url):
                pass
        with pytest.raises(InvalidArgument, match="one, two"):
            async with Client(url):
                pass
        async with Client(url, app_id="two") as client:
            assert [state async for state in client.list()] == []

    run(scenario)


def test_every_error_has_a_code_of_its_own_and_a_place_in_the_tree():
    def family(kind: type[PerdureError]) -> list[type[PerdureError]]:
        return [kind, *(member for child in kind.__subclasses__() for member in family(child))]

    concrete = [kind for kind in family(PerdureError) if "code" in vars(kind)]
    codes = [kind.code for kind in concrete]
    assert len(codes) == len(set(codes))
    drawn = perdure.errors.__doc__ or ""
    for kind in concrete:
        if kind is not PerdureError:
            assert re.search(rf"\b{kind.__name__}\s+{kind.code[-4:]}\b", drawn), kind
