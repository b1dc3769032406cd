"""Schedules on the real engine: virtual time for hours and months, every policy, absence, and bad input."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace

import pytest

import perdure
from perdure import App, Queue, ScheduleExists, ScheduleNotFound, Status, wait_for_event, workflow_context
from perdure.engine.engine import Engine
from perdure.errors import AlreadyRegistered, InstanceNotFound, InvalidArgument
from perdure.scheduler.ticks import ticks
from perdure.sdk.client import Client
from perdure.sdk.worker import Worker
from perdure.stores.memory import MemoryStore
from perdure.testing.loop import SimClock, SimLoop
from perdure.testing.virtual import UNHURRIED

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)


class Clock(SimClock):
    """Virtual time that begins where a test wants it to."""

    def __init__(self, loop: SimLoop, began: datetime) -> None:
        super().__init__(loop, random.Random(0))
        self.ahead = 0
        self._offset = perdure.clock.to_microseconds(began) - super().now()

    def now(self) -> int:
        return super().now() + getattr(self, "_offset", 0) + self.ahead


class World:
    """One store in virtual time, and the nodes that come and go."""

    def __init__(self, loop: SimLoop, began: datetime) -> None:
        self.clock = Clock(loop, began)
        self.store = MemoryStore()

    @asynccontextmanager
    async def node(self, app: App, *, execute: bool = True):
        """A client of the app on a node of its own; with `execute` False it runs nothing."""
        worker = Worker("test", app.definitions)
        engine = Engine(
            "test",
            self.store,
            worker,
            clock=self.clock,
            owner="test",
            pace=UNHURRIED,
            execute=execute,
        )
        await engine.open()
        client = Client(engine.operations)
        client._clock = self.clock
        app.lodge(SimpleNamespace(client=client, definitions=app.definitions, writer=client.writer))
        try:
            yield client
        finally:
            await engine.close()

    @property
    def now(self) -> datetime:
        return perdure.clock.to_datetime(self.clock.now())


def in_virtual_time(scenario, began: datetime = DECEMBER):
    loop = SimLoop(random.Random(0))
    return loop.run(scenario(World(loop, began)))


@pytest.fixture
def app():
    return App("test", store="memory:")


@pytest.fixture
def report(app):
    @app.workflow
    async def report(seconds: float = 0.0) -> str:
        await asyncio.sleep(seconds)
        return f"{workflow_context().tick:%d %H:%M}"

    return report


async def names(client: Client, **filters) -> list[str]:
    return sorted([state.id async for state in client.list(**filters)])


@pytest.mark.long
def test_a_year_of_nights_in_berlin_is_a_year_of_runs(app, report):
    async def scenario(world):
        async with world.node(app) as client:
            schedule = await report.with_schedule(
                "nightly", cron="30 2 * * *", timezone="Europe/Berlin", end=datetime(2027, 12, 1, tzinfo=UTC)
            ).create()
            await asyncio.sleep(400 * DAY)
            return await schedule.describe(), await names(client)

    state, runs = in_virtual_time(scenario)
    assert state.started == len(runs) == 365
    assert (state.skipped, state.missed, state.existing) == (0, 0, 0)
    assert "nightly@2027-03-28T01:00:00Z" in runs  # the gap of the spring change
    assert "nightly@2027-10-31T00:30:00Z" in runs  # the first of the two
    assert state.next == ()
    assert len(state.recent) == 10
    assert {run.status for run in state.recent} == {"completed"}


def test_a_run_knows_its_tick_and_carries_tags(app, report):
    async def scenario(world):
        async with world.node(app) as client:
            await (
                report.with_options(tags={"team": "a"}, run_timeout=HOUR)
                .with_schedule("s", every=timedelta(hours=6))
                .create(5.0)
            )
            await asyncio.sleep(7 * HOUR)
            (run,) = [state async for state in client.list(tags={"perdure.schedule": "s"})]
            full = await client.get(run.id).state()
            return full, await client.get(run.id).result()

    state, result = in_virtual_time(scenario)
    assert state.id == "s@2026-12-01T06:00:00Z"
    assert state.tags == {"team": "a", "perdure.schedule": "s", "perdure.tick": "2026-12-01T06:00:00Z"}
    assert state.input == 5.0
    assert result == "01 06:00"


@pytest.mark.parametrize(
    "overlap,started,skipped",
    # a run of 150 minutes against a tick each hour, for ten hours and a quarter
    [("skip", 4, 6), ("allow", 10, 0), ("queue", 4, 5), ("cancel", 10, 0)],
)
def test_each_policy_when_a_run_takes_longer_than_the_interval(app, report, overlap, started, skipped):
    async def scenario(world):
        async with world.node(app) as client:
            schedule = await report.with_schedule("s", every=HOUR, overlap=overlap).create(150 * MINUTE)
            await asyncio.sleep(10.25 * HOUR)
            state = await schedule.describe()
            statuses = [each.status async for each in client.list()]
            return state, statuses

    state, statuses = in_virtual_time(scenario)
    assert (state.started, state.skipped) == (started, skipped)
    assert len(statuses) == started
    if overlap == "cancel":
        assert sorted(set(statuses)) == [Status.CANCELED, Status.RUNNING]
        assert statuses.count(Status.RUNNING) == 1
    running = {"skip": 1, "allow": 3, "queue": 1, "cancel": 1}[overlap]
    assert len(state.running) == running
    assert (state.waiting is not None) == (overlap == "queue")


def test_a_cancelled_run_compensates_before_the_next_one_begins(app):
    story = []

    @app.activity
    async def note(text: str) -> None:
        story.append(text)

    @app.workflow
    async def careful() -> None:
        await note("begin")
        try:
            await wait_for_event("never")
        finally:
            await asyncio.sleep(10)
            await note("undone")

    async def scenario(world):
        async with world.node(app):
            await careful.with_schedule("s", every=HOUR, overlap="cancel").create()
            await asyncio.sleep(2 * HOUR + MINUTE)

    in_virtual_time(scenario)
    assert story == ["begin", "undone", "begin"]


def test_what_was_missed_while_nobody_ran_is_caught_up_within_the_bound(app, report):
    async def scenario(world):
        async with world.node(app):
            await report.with_schedule("s", every=HOUR, overlap="allow", catch_up=timedelta(hours=2)).create()
            await asyncio.sleep(HOUR + MINUTE)
        await asyncio.sleep(9 * HOUR)
        async with world.node(app) as client:
            await asyncio.sleep(MINUTE)
            state = await client.get_schedule("s").describe()
            runs = await names(client)
            assert await client.get_schedule("s").backfill(DECEMBER, world.now) == 11
            await asyncio.sleep(HOUR)
            return state, runs, await client.get_schedule("s").describe(), await names(client)

    state, runs, after, all_runs = in_virtual_time(scenario)
    assert runs == [f"s@2026-12-01T{hour:02}:00:00Z" for hour in (1, 8 + 1, 10)]
    assert (state.started, state.missed) == (3, 7)
    # the backfill runs what was missed, and not again what had run
    assert [run for run in all_runs if run < "s@2026-12-01T11"] == [
        f"s@2026-12-01T{hour:02}:00:00Z" for hour in range(11)
    ]
    assert after.existing == 3
    assert after.backfills == ()


def test_it_is_made_shown_and_steered_while_no_process_runs_the_app(app, report):
    async def scenario(world):
        async with world.node(app, execute=False) as client:
            schedule = await client.workflow("report").with_schedule("s", every=HOUR, overlap="allow").create(1.0)
            shown = await schedule.describe()
            listed = [state.id async for state in client.schedules()]
            await asyncio.sleep(2.5 * HOUR)
            await schedule.pause("stop")
            run = await schedule.trigger()
            await asyncio.sleep(5 * HOUR)
        async with world.node(app) as client:
            await asyncio.sleep(MINUTE)
            state = await client.get_schedule("s").describe()
            return shown, listed, run.id, state, await names(client)

    shown, listed, run, state, runs = in_virtual_time(scenario)
    assert listed == ["s"]
    assert shown.next[0] == DECEMBER + timedelta(hours=1)
    assert shown.input == 1.0
    assert run in runs
    assert state.paused == "stop"
    assert state.missed == 2  # both before the pause, and later than an hour by now
    assert state.started == 1


def test_pause_resume_trigger_update_and_delete(app, report):
    async def scenario(world):
        async with world.node(app) as client:
            schedule = await report.with_schedule("s", every=HOUR).create()
            await schedule.pause("holidays")
            await asyncio.sleep(DAY)
            paused = await schedule.describe()
            handle = await schedule.trigger()
            with pytest.raises(perdure.WorkflowFailed):
                await handle.result(30)  # because a triggered run has no tick to format
            await schedule.resume()
            await asyncio.sleep(HOUR + MINUTE)
            resumed = await schedule.describe()
            await schedule.update(cron="0 0 * * *", timezone="Asia/Tokyo", overlap="queue", jitter=5, catch_up=0)
            updated = await schedule.describe()
            await schedule.delete()
            listed = [state async for state in client.schedules()]
            with pytest.raises(ScheduleNotFound):
                await schedule.pause()
            again = await report.with_schedule("s", every=HOUR).create()
            return paused, resumed, updated, listed, await again.describe(), await names(client)

    paused, resumed, updated, listed, again, runs = in_virtual_time(scenario)
    assert (paused.paused, paused.next, paused.started) == ("holidays", (), 0)
    assert (resumed.paused, resumed.started, resumed.missed) == (None, 2, 0)
    assert {run.tick is None for run in resumed.recent} == {True, False}
    assert (updated.cron, updated.every, updated.timezone) == ("0 0 * * *", None, "Asia/Tokyo")
    assert updated.overlap == "queue"
    assert updated.jitter == timedelta(seconds=5)
    assert updated.catch_up == timedelta(0)
    assert updated.next[0] == datetime(2026, 12, 2, 15, tzinfo=UTC)
    assert listed == []
    assert again.started == 0
    assert len(runs) == 2  # runs outlive their schedule


def test_jitter_delays_the_start_and_not_the_tick(app, report):
    async def scenario(world):
        async with world.node(app) as client:
            await report.with_schedule("s", every=HOUR, jitter=30 * MINUTE).create()
            await asyncio.sleep(20.75 * HOUR)
            return [(state.created, (await client.get(state.id).result())) async for state in client.list()]

    found = in_virtual_time(scenario)
    late = [(created - datetime(2026, 12, 1 + int(t[:2]) - 1, int(t[3:5]), tzinfo=UTC)).seconds for created, t in found]
    assert len(found) == 20
    assert all(0 <= each < 1_800 for each in late)
    assert len(set(late)) > 10


def test_a_schedule_stays_out_of_the_list_and_of_batches(app, report):
    async def scenario(world):
        async with world.node(app) as client:
            schedule = await report.with_schedule("s", every=HOUR).create()
            assert await client.terminate_all() == 0
            await asyncio.sleep(1.5 * HOUR)
            assert await client.purge_all() == 1
            told = await client.get("schedule:s").explain()
            return await names(client), (await schedule.describe()).started, told

    runs, started, told = in_virtual_time(scenario)
    assert (runs, started) == ([], 1)
    assert "sleeps until 2026-12-01 02:00:00 UTC" in told.sentence
    assert told.command == "perdure schedule show s"


def test_an_id_that_is_taken_is_counted_and_the_schedule_goes_on(app, report):
    async def scenario(world):
        async with world.node(app):
            await report.with_options(id="s@2026-12-01T01:00:00Z").start(10 * HOUR)
            schedule = await report.with_schedule("s", every=HOUR).create()
            await asyncio.sleep(2.5 * HOUR)
            return await schedule.describe()

    state = in_virtual_time(scenario)
    assert (state.started, state.existing, state.skipped) == (1, 1, 0)


@pytest.mark.long
def test_a_history_stays_short_however_many_commands_come(app, report):
    async def scenario(world):
        async with world.node(app) as client:
            schedule = await report.with_schedule("s", cron="0 0 1 1 *", overlap="allow").create()
            await asyncio.gather(*(schedule.trigger() for _ in range(250)))
            await asyncio.sleep(1)
            events = [event async for event in client.get("schedule:s").history()]
            return len(events), await schedule.describe(), await names(client)

    events, state, runs = in_virtual_time(scenario)
    assert state.started == len(runs) == 250
    assert state.running == ()
    assert events < 500


def test_a_worker_without_the_zone_stalls_the_schedule_and_one_with_it_goes_on(app, report, monkeypatch):
    async def scenario(world):
        async with world.node(app) as client:
            schedule = await report.with_schedule("s", cron="0 * * * *", timezone="Europe/Berlin").create()
            with monkeypatch.context() as patch:
                patch.setattr("perdure.scheduler.ticks.zone", _unknown)
                await asyncio.sleep(1.5 * HOUR)
                stalled = await schedule.describe()
            await client.get("schedule:s").resume()
            await asyncio.sleep(MINUTE)
            return stalled, await schedule.describe()

    stalled, state = in_virtual_time(scenario)
    assert stalled.stalled is not None
    assert "not known here" in stalled.stalled.description
    assert len(stalled.next) == 1
    assert state.stalled is None
    assert state.started == 1


def test_a_stalled_schedule_is_tried_again_by_a_worker_that_has_the_libraries(app, report, monkeypatch):
    async def scenario(world):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "cronsim", None)
            patch.setattr("perdure.sdk.scheduling.find_spec", lambda name: None)
            async with world.node(app, execute=False) as client:
                with pytest.raises(InvalidArgument, match="pip install"):
                    report.with_schedule("s", cron="0 * * * *")
            patch.undo()
            async with world.node(app, execute=False) as client:
                schedule = await report.with_schedule("s", cron="0 * * * *").create()
            patch.setitem(sys.modules, "cronsim", None)
            patch.setattr("perdure.sdk.scheduling.find_spec", lambda name: None)
            async with world.node(app) as client:
                await asyncio.sleep(1.5 * HOUR)
                stalled = await client.get_schedule("s").describe()
        async with world.node(app) as client:
            await asyncio.sleep(MINUTE)
            schedule = client.get_schedule("s")
            return stalled, await schedule.describe()

    stalled, state = in_virtual_time(scenario)
    assert 'pip install "perdure[schedule]"' in stalled.stalled.description
    assert state.stalled is None
    assert state.started == 1


def test_a_command_after_a_thousand_missed_ticks_is_obeyed_once_they_are_counted(app, report):
    async def scenario(world):
        async with world.node(app) as client:
            await report.with_schedule("s", every=MINUTE, catch_up=0).create()
        await asyncio.sleep(1_200 * MINUTE + 1)
        async with world.node(app, execute=False) as client:
            await client.get_schedule("s").pause("late")
        async with world.node(app) as client:
            await asyncio.sleep(MINUTE)
            return await client.get_schedule("s").describe()

    state = in_virtual_time(scenario)
    assert (state.missed, state.started, state.paused) == (1_199, 1, "late")


def test_ticks_before_an_update_run_with_what_was_asked_until_then(app, report):
    async def scenario(world):
        async with world.node(app, execute=False) as client:
            await report.with_schedule("s", every=HOUR, overlap="allow", catch_up=DAY).create(1.0)
            await asyncio.sleep(2.5 * HOUR)
            await report.with_schedule("s", every=HOUR, overlap="allow", if_exists="replace").create(2.0)
            await asyncio.sleep(HOUR)
        async with world.node(app) as client:
            await asyncio.sleep(MINUTE)
            return [(await client.get(id).state()).input for id in await names(client)]

    assert in_virtual_time(scenario) == [1.0, 1.0, 2.0]


def _unknown(name):
    raise InvalidArgument(f"time zone {name!r} is not known here")


def test_runs_wait_for_the_slots_of_their_workflow_s_queue(app):
    inside = [0, 0]

    @app.workflow(queue=Queue("one", concurrency=1))
    async def slow() -> None:
        inside[0] += 1
        inside[1] = max(inside)
        await asyncio.sleep(2.5 * HOUR)
        inside[0] -= 1

    async def scenario(world):
        async with world.node(app) as client:
            schedule = await slow.with_schedule("hourly", every=HOUR, overlap="allow").create()
            await asyncio.sleep(10.5 * HOUR)
            waiting = await names(client, status="pending")
            await schedule.pause()
            while (await schedule.describe()).running:
                await asyncio.sleep(HOUR)
            return len(waiting), await schedule.describe(), await client.queues()

    waiting, state, queues = in_virtual_time(scenario)
    assert inside == [0, 1]
    assert (waiting, state.started, queues) == (6, 10, [])


def test_a_tick_that_waits_for_a_slot_gives_way_to_the_next_one(app):
    began = []

    @app.workflow(queue=Queue("one", concurrency=1))
    async def slow(name: str) -> None:
        began.append(name)
        await wait_for_event("go")

    async def scenario(world):
        async with world.node(app) as client:
            holder = await slow.with_options(id="holder").start("holder")
            schedule = await slow.with_schedule("hourly", every=HOUR, overlap="cancel").create("tick")
            await asyncio.sleep(3.5 * HOUR)
            canceled = await names(client, status="canceled")
            await holder.raise_event("go")
            await asyncio.sleep(1)
            return len(canceled), list(began), await schedule.describe()

    canceled, started, state = in_virtual_time(scenario)
    assert (canceled, started, state.started) == (2, ["holder", "tick"], 3)


def test_ticks_start_the_latest_version_and_runs_stay_on_theirs(app):
    async def named(version: str) -> str:
        await asyncio.sleep(90 * 60)
        return version

    @app.workflow(name="report", version="1")
    async def report_1() -> str:
        return await named("one")

    newer = App("test", store="memory:").include(report_1)

    @newer.workflow(name="report", version="2")
    async def report_2() -> str:
        return await named("two")

    async def scenario(world):
        async with world.node(app):
            await report_1.with_schedule("hourly", every=HOUR, overlap="allow").create()
            await asyncio.sleep(1.5 * HOUR)
        async with world.node(newer) as client:
            await asyncio.sleep(3 * HOUR)
            finished = await names(client, status="completed")
            return [(await client.get(id).result(), (await client.get(id).state()).version) for id in finished]

    assert in_virtual_time(scenario) == [("one", "1"), ("two", "2")]


def test_declared_schedules_are_made_and_changed_when_the_app_opens(tmp_path, run):
    def made(every: float) -> App:
        app = App("shop", store=f"sqlite:///{tmp_path}/shop.db")

        @app.workflow
        async def report(region: str) -> None: ...

        report.with_schedule("nightly", every=every).declare("north")
        with pytest.raises(AlreadyRegistered):
            report.with_schedule("nightly", every=every).declare("south")
        return App("shop", store=f"sqlite:///{tmp_path}/shop.db").include(app)

    async def scenario():
        async with made(HOUR) as app:
            first = await app.client.get_schedule("nightly").describe()
            await app.client.get_schedule("nightly").pause("by hand")
        async with made(HOUR) as app:
            second = await app.client.get_schedule("nightly").describe()
        async with made(2 * HOUR) as app:
            return first, second, await app.client.get_schedule("nightly").describe()

    first, second, third = run(scenario)
    assert first.input == "north"
    assert (first.every, second.every, third.every) == (timedelta(hours=1), timedelta(hours=1), timedelta(hours=2))
    assert (first.paused, second.paused, third.paused) == (None, "by hand", "by hand")
    assert first.created == third.created


WRONG_OPTIONS = [
    ({}, "give one of them"),
    ({"cron": "* * * * *", "every": 5}, "give one of them"),
    ({"cron": "* * *"}, "five fields"),
    ({"cron": 5}, "text"),
    ({"cron": "* * * * *", "timezone": "Mars/Olympus"}, "time zone"),
    ({"cron": "* * * * *", "timezone": 1}, "text"),
    ({"every": 0.5}, "every"),
    ({"every": "1h"}, "every"),
    ({"every": True}, "every"),
    ({"every": float("nan")}, "every"),
    ({"every": float("inf")}, "every"),
    ({"every": 1e300}, "every"),
    ({"every": timedelta(days=-1)}, "every"),
    ({"every": 60, "timezone": "Europe/Berlin"}, "no time zone"),
    ({"every": 60, "overlap": "later"}, "overlap"),
    ({"every": 60, "overlap": ["skip"]}, "overlap"),
    ({"every": 60, "jitter": -1}, "jitter"),
    ({"every": 60, "catch_up": "x"}, "catch_up"),
    ({"every": 60, "start": "tomorrow"}, "start"),
    ({"every": 60, "start": DECEMBER, "end": DECEMBER}, "before its start"),
    ({"every": 60, "if_exists": "return"}, "if_exists"),
]


@pytest.mark.parametrize("options,sentence", WRONG_OPTIONS, ids=range(len(WRONG_OPTIONS)))
def test_wrong_options_are_one_clear_error_where_they_are_given(report, options, sentence):
    with pytest.raises(InvalidArgument) as caught:
        report.with_schedule("s", **options)
    assert sentence in str(caught.value)


def test_wrong_ids_names_and_calls(app, report):
    async def scenario(world):
        async with world.node(app) as client:
            for id in ("", "a\nb", "x" * 600, 7):
                with pytest.raises(InvalidArgument):
                    report.with_schedule(id, every=60)
                with pytest.raises(InvalidArgument):
                    client.get_schedule(id)
            for options in ({"id": "x"}, {"at": DECEMBER}, {"app_id": "other"}, {"if_exists": "return"}):
                with pytest.raises(InvalidArgument, match="names and times its runs"):
                    report.with_options(**options).with_schedule("s", every=60)
            with pytest.raises(InvalidArgument, match="argument"):
                await report.with_schedule("s", every=60).create(1.0, 2.0)
            with pytest.raises(InvalidArgument, match="no tick ahead"):
                await report.with_schedule("s", every=60, end=DECEMBER - timedelta(days=1)).create()
            with pytest.raises(InvalidArgument, match="no App here"):
                client.workflow("report").with_schedule("s", every=60).declare()
            with pytest.raises(ScheduleNotFound):
                await client.get_schedule("none").describe()
            await report.with_options(id="schedule:w").start()
            with pytest.raises(ScheduleNotFound):
                await client.get_schedule("w").describe()
            schedule = await report.with_schedule("s", every=60).create()
            with pytest.raises(ScheduleExists):
                await report.with_schedule("s", every=60).create()
            replaced = await report.with_schedule("s", every=90, if_exists="replace").create()
            assert (await replaced.describe()).every == timedelta(seconds=90)
            now = world.now
            for start, end in ((now, now), (now, now - timedelta(1)), (now, now + timedelta(1)), ("a", now)):
                with pytest.raises(InvalidArgument):
                    await schedule.backfill(start, end)
            with pytest.raises(InvalidArgument, match="more than"):
                await schedule.backfill(now - timedelta(days=30), now)
            with pytest.raises(InvalidArgument, match="queue"):
                await schedule.backfill(now - timedelta(days=1), now, overlap="skip")
            with pytest.raises(InvalidArgument):
                await schedule.trigger(overlap="never")
            with pytest.raises(InvalidArgument):
                await schedule.pause(7)
            with pytest.raises(InvalidArgument):
                await schedule.update(cron="no")
            assert await schedule.backfill(now - timedelta(seconds=1), now - timedelta(microseconds=1)) == 0
            with pytest.raises(InstanceNotFound):
                await client.get("schedule:none").state()

    in_virtual_time(scenario)


def test_names_of_built_in_workflows_are_kept(app):
    async def mine() -> None: ...

    with pytest.raises(InvalidArgument, match="perdure"):
        app.workflow(name="perdure.schedule")(mine)


def test_a_replay_under_other_zones_keeps_the_tick_that_was_computed(app, report, monkeypatch):
    def an_hour_later(calendar, after):
        return (tick + 3_600_000_000 for tick in ticks(calendar, after))

    async def scenario(world):
        async with world.node(app) as client:
            schedule = await report.with_schedule("s", cron="0 */6 * * *").create()
            await asyncio.sleep(7 * HOUR)
            for _ in range(3):
                await schedule.trigger()
            await asyncio.sleep(MINUTE)
            before = [type(event).__name__ async for event in client.get("schedule:s").history()]
        monkeypatch.setattr("perdure.scheduler.schedule.ticks", an_hour_later)
        async with world.node(app) as client:
            await asyncio.sleep(13 * HOUR)
            return before, await schedule.describe(), await names(client, tags={"perdure.schedule": "s"})

    before, state, runs = in_virtual_time(scenario)
    assert before.count("DetachedCreated") == 3  # so the second node has replayed them
    assert state.stalled is None
    assert [run[-9:-1] for run in runs if run.endswith("Z")] == ["06:00:00", "12:00:00", "19:00:00"]


@pytest.mark.parametrize("seed", range(5))
def test_owners_whose_clocks_differ_start_each_tick_once(app, report, seed):
    dice = random.Random(seed)

    async def scenario(world):
        schedule = None
        for _ in range(30):
            world.clock.ahead = dice.randrange(-600, 600) * 1_000_000
            async with world.node(app) as client:
                if schedule is None:
                    await report.with_schedule("s", every=5 * MINUTE, overlap="allow", catch_up=DAY).create()
                schedule = client.get_schedule("s")
                await asyncio.sleep(dice.uniform(0, 20 * MINUTE))
        world.clock.ahead = 600_000_000
        async with world.node(app) as client:
            await asyncio.sleep(HOUR)
            return await client.get_schedule("s").describe(), await names(client)

    state, runs = in_virtual_time(scenario)
    ticks = [datetime.fromisoformat(run.removeprefix("s@")) for run in runs]
    assert all(later - earlier == timedelta(minutes=5) for earlier, later in pairwise(ticks))
    assert state.started == len(runs) > 50
    assert (state.missed, state.skipped, state.existing) == (0, 0, 0)


def test_an_app_without_schedules_imports_nothing_of_them():
    program = """
import asyncio, sys, perdure
app = perdure.App("a", store="memory:")
@app.workflow
async def w() -> int:
    return 1
async def main():
    async with app:
        await (await w.start()).result()
asyncio.run(main())
print([name for name in sys.modules if "schedul" in name and "perdure" in name and name.count(".") > 1
       and not name.endswith((".window", ".pace", ".limiter"))], "cronsim" in sys.modules, "zoneinfo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[] False False"
