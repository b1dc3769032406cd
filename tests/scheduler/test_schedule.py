"""What a schedule decides: overlap, catch-up, pause, backfill, and that no tick starts twice whatever happens."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.clock import SECOND
from perdure.codec import NOTHING, decode, encode
from perdure.history.events import InstanceEnded
from perdure.scheduler import schedule as core
from perdure.scheduler.schedule import (
    Backfill,
    Command,
    Kept,
    Pause,
    Progress,
    Resume,
    Spec,
    Step,
    Trigger,
    Update,
    due,
    first,
    jitter,
    obey,
    run_id,
    tick,
)
from perdure.scheduler.ticks import Calendar

MINUTE, HOUR = 60 * SECOND, 3_600 * SECOND
T0 = 1_767_225_600 * SECOND
"""2026-01-01 in UTC."""
EVERY_MINUTE = Calendar(every=MINUTE)


def spec(**options) -> Spec:
    return Spec(**{"workflow": "w", "input": NOTHING, "calendar": EVERY_MINUTE, **options})


@dataclass
class Model:
    """A schedule as its instance runs it, with every start and cancellation."""

    spec: Spec
    now: int = T0
    progress: Progress = field(default_factory=Progress)
    started: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    steps: int = 0

    def __post_init__(self) -> None:
        self.progress = first(self.spec, self.now)

    def wait(self, microseconds: int) -> None:
        """Time passes, and the schedule takes what is due as soon as it is."""
        until = self.now + microseconds
        while (at := due("s", self.spec, self.progress)) is not None and at <= until:
            self.now = max(self.now, at)
            self._take(tick("s", self.spec, self.progress, self.now))
        self.now = until

    def sleep(self, microseconds: int) -> None:
        """Time passes, and nobody runs the schedule."""
        self.now += microseconds

    def tell(self, command: Command) -> None:
        step = obey("s", self.spec, self.progress, command, self.now)
        self._take(step)
        while step.unobeyed is not None:
            step = obey("s", self.spec, self.progress, step.unobeyed, self.now)
            self._take(step)
        self.wait(0)

    def end(self, id: str, status: str | None = "completed") -> None:
        self.tell(InstanceEnded(at=self.now, instance=id, status=status))

    def _take(self, step: Step) -> None:
        self.steps += 1
        self.spec, self.progress = step.spec, step.progress
        self.started += [wanted.id for wanted in step.start]
        self.cancelled += step.cancel
        again = msgspec.json.decode(msgspec.json.encode(step.progress), type=Progress)
        assert again == step.progress

    @property
    def running(self) -> list[str]:
        return [run.id for run in self.progress.running]


def ids(*minutes: int) -> list[str]:
    return [run_id("s", T0 + minute * MINUTE) for minute in minutes]


def test_each_tick_starts_one_run_named_after_it():
    model = Model(spec())
    for minute in (1, 2, 3):
        model.wait(MINUTE)
        model.end(ids(minute)[0])
    assert model.started == ids(1, 2, 3)
    assert model.started[0] == "s@2026-01-01T00:01:00Z"
    assert model.progress.started == 3
    assert [run.id for run in model.progress.recent] == ids(3, 2, 1)
    assert [run.status for run in model.progress.recent] == ["completed"] * 3


def test_skip_lets_ticks_go_while_a_run_is_not_finished():
    model = Model(spec())
    model.wait(3 * MINUTE)
    assert model.started == ids(1)
    assert model.progress.skipped == 2
    model.end(ids(1)[0], "failed")
    model.wait(MINUTE)
    assert model.started == ids(1, 4)
    assert model.progress.recent[0].status == "failed"


def test_allow_starts_beside_up_to_the_bound(monkeypatch):
    monkeypatch.setattr(core, "RUNNING_MAX", 3)
    model = Model(spec(overlap="allow"))
    model.wait(5 * MINUTE)
    assert model.started == ids(1, 2, 3)
    assert model.progress.skipped == 2


def test_queue_keeps_one():
    model = Model(spec(overlap="queue"))
    model.wait(3 * MINUTE)
    assert model.started == ids(1)
    assert model.progress.waiting is not None
    assert model.progress.skipped == 1
    model.end(ids(1)[0])
    assert model.started == ids(1, 2)
    assert model.progress.waiting is None
    model.end(ids(2)[0])
    assert model.started == ids(1, 2)


def test_cancel_asks_the_old_run_once_and_starts_the_newest_when_it_has_ended():
    model = Model(spec(overlap="cancel"))
    model.wait(3 * MINUTE)
    assert model.started == ids(1)
    assert model.cancelled == ids(1)
    assert model.progress.skipped == 1
    model.end(ids(1)[0], "canceled")
    assert model.started == ids(1, 3)
    model.wait(MINUTE)
    assert model.cancelled == ids(1, 3)


def test_what_came_too_late_is_missed_and_the_rest_is_caught_up():
    model = Model(spec(overlap="allow", catch_up=2 * MINUTE))
    model.sleep(10 * MINUTE)
    model.wait(0)
    assert model.started == ids(8, 9, 10)
    assert model.progress.missed == 7
    model.wait(MINUTE)
    assert model.started == ids(8, 9, 10, 11)


def test_with_skip_a_long_absence_starts_one_run():
    model = Model(spec())
    model.sleep(30 * MINUTE)
    model.wait(0)
    assert model.started == ids(1)
    assert model.progress.skipped == 29


def test_what_is_no_later_than_ten_seconds_is_on_time_even_without_catch_up():
    model = Model(spec(catch_up=0))
    model.sleep(MINUTE + core.LATE_MAX)
    model.wait(0)
    assert model.started == ids(1)
    model.end(ids(1)[0])
    model.sleep(MINUTE + 1)
    model.wait(0)
    assert model.progress.missed == 1


def test_a_year_of_missed_ticks_is_counted_exactly_in_bounded_steps():
    model = Model(spec(catch_up=0))
    model.sleep(10_000 * MINUTE)
    model.wait(0)
    assert model.progress.missed == 9_999
    assert model.progress.started == 1
    assert model.steps >= 10_000 // core.STEP_TICKS_MAX


def test_a_pause_takes_its_ticks_away_but_neither_triggers_nor_backfills():
    model = Model(spec())
    model.tell(Pause(at=model.now, note="deploy"))
    assert due("s", model.spec, model.progress) is None
    model.wait(10 * MINUTE)
    model.tell(Trigger(at=model.now, id="manual", overlap="allow"))
    assert model.started == ["manual"]
    model.end("manual")
    model.tell(Backfill(at=model.now, start=T0 + MINUTE, end=T0 + 2 * MINUTE, overlap="queue"))
    assert model.started == ["manual", *ids(1)]
    model.end(ids(1)[0])
    model.tell(Resume(at=model.now))
    model.wait(MINUTE)
    assert model.started == ["manual", *ids(1), *ids(11)]
    assert model.progress.missed == model.progress.skipped == 0
    model.tell(Resume(at=model.now))
    assert model.progress.next == T0 + 12 * MINUTE


def test_a_pause_that_was_asked_for_while_nobody_ran_it_holds_from_then_on():
    model = Model(spec(overlap="allow"))
    model.sleep(5 * MINUTE)
    model.tell(Pause(at=T0 + 2 * MINUTE, note=""))
    assert model.started == ids(1, 2)


def test_a_command_after_a_long_absence_finds_every_tick_before_it_counted():
    model = Model(spec(catch_up=0))
    model.sleep(5_000 * MINUTE)
    model.tell(Pause(at=T0 + 4_000 * MINUTE, note=""))
    assert model.progress.missed == 4_000
    assert model.started == []


def test_an_update_takes_other_ticks_from_now_on_and_keeps_the_counts():
    model = Model(spec())
    model.wait(MINUTE)
    model.tell(Update(at=model.now, spec=spec(calendar=Calendar(every=HOUR), overlap="allow")))
    model.wait(2 * HOUR)
    assert model.started == ids(1, 60, 120)
    assert model.progress.started == 3
    model.tell(Pause(at=model.now, note=""))
    model.tell(Update(at=model.now, spec=spec()))
    assert model.progress.next is None
    assert model.progress.paused is not None


def test_an_update_does_not_lose_a_tick_that_its_jitter_holds_back():
    late = spec(calendar=Calendar(every=HOUR), jitter=HOUR // 2)
    model = Model(late)
    model.wait(HOUR + jitter("s", late, T0 + HOUR) // 2)
    assert model.started == []
    model.tell(Update(at=model.now, spec=msgspec.structs.replace(late, overlap="allow")))
    model.wait(HOUR // 2)
    assert model.started == [run_id("s", T0 + HOUR)]


def test_a_trigger_obeys_the_overlap_that_it_was_given():
    model = Model(spec(overlap="allow"))
    model.wait(MINUTE)
    model.tell(Trigger(at=model.now, id="a", overlap="skip"))
    assert model.progress.skipped == 1
    model.tell(Trigger(at=model.now, id="b", overlap="queue"))
    model.tell(Trigger(at=model.now, id="c", overlap="allow"))
    assert model.started == [*ids(1), "c"]
    model.end(ids(1)[0])
    model.end("c")
    assert model.started == [*ids(1), "c", "b"]


def test_a_backfill_goes_one_by_one_and_does_not_run_what_has_run():
    model = Model(spec(catch_up=0))
    model.sleep(10 * MINUTE)
    model.wait(0)
    model.end(model.running[0])
    model.tell(Backfill(at=model.now, start=T0 + 8 * MINUTE, end=T0 + 11 * MINUTE, overlap="queue"))
    assert model.running == ids(8)
    model.end(ids(8)[0])
    assert model.running == ids(9)
    model.end(ids(9)[0])
    assert model.running == ids(10)
    model.end(ids(10)[0], None)  # the store knows its id: it has run
    assert model.running == []
    assert model.progress.backfills == ()
    assert model.progress.existing == 1
    assert model.progress.started == 3


def test_a_backfill_all_at_once_goes_in_bounded_steps(monkeypatch):
    monkeypatch.setattr(core, "STEP_TICKS_MAX", 10)
    model = Model(spec(catch_up=0))
    model.sleep(1_000 * MINUTE)
    model.tell(Pause(at=T0, note=""))
    model.tell(Backfill(at=model.now, start=T0, end=T0 + 100 * MINUTE, overlap="allow"))
    assert len(set(model.started)) == len(model.started) == 100
    assert model.steps >= 10
    assert due("s", model.spec, model.progress) is None


def test_a_backfill_waits_at_the_bound_of_runs(monkeypatch):
    monkeypatch.setattr(core, "RUNNING_MAX", 3)
    model = Model(spec())
    model.sleep(10 * MINUTE)
    model.tell(Pause(at=T0, note=""))
    model.tell(Backfill(at=model.now, start=T0 + MINUTE, end=T0 + 6 * MINUTE, overlap="allow"))
    assert model.started == ids(1, 2, 3)
    model.end(ids(2)[0])
    assert model.started == ids(1, 2, 3, 4)


def test_ranges_to_backfill_are_bounded(monkeypatch):
    monkeypatch.setattr(core, "BACKFILLS_MAX", 2)
    model = Model(spec())
    model.wait(MINUTE)
    for _ in range(3):
        model.tell(Backfill(at=model.now, start=T0, end=T0 + MINUTE, overlap="queue"))
    assert len(model.progress.backfills) == 2
    assert model.progress.skipped == 1


def test_the_end_of_a_run_that_is_not_its_own_changes_nothing():
    model = Model(spec())
    before = model.progress
    model.end("somebody else's")
    assert model.progress == before


def test_jitter_is_the_same_whenever_it_is_asked_within_its_bound_and_spread():
    spread = spec(jitter=MINUTE)
    found = [jitter("s", spread, T0 + minute * MINUTE) for minute in range(200)]
    assert found == [jitter("s", spread, T0 + minute * MINUTE) for minute in range(200)]
    assert all(0 <= late < MINUTE for late in found)
    assert max(found) > MINUTE * 0.9
    assert min(found) < MINUTE * 0.1
    assert jitter("t", spread, T0) != jitter("s", spread, T0)
    assert jitter("s", spec(), T0) == 0


def test_a_schedule_whose_end_has_passed_waits_for_commands_alone():
    model = Model(spec(calendar=Calendar(every=MINUTE, end=T0 + 3 * MINUTE), overlap="allow"))
    model.wait(HOUR)
    assert model.started == ids(1, 2)
    assert due("s", model.spec, model.progress) is None


def test_only_steps_that_look_ahead_ask_the_calendar(monkeypatch):
    """What a replay repeats needs neither cron library nor time zones."""
    model = Model(spec(overlap="queue"))
    model.wait(2 * MINUTE)

    def unreadable(*_):
        raise AssertionError("the calendar was asked")

    monkeypatch.setattr(core, "ticks", unreadable)
    for command in (
        Trigger(at=model.now, id="x", overlap="allow"),
        InstanceEnded(at=1, instance=ids(1)[0], status="x"),
    ):
        step = obey("s", model.spec, model.progress, command, model.now)
        assert not step.looked_ahead


COMMANDS = st.sampled_from(("pause", "resume", "trigger", "backfill", "backfill all", "update"))
ACTIONS = st.lists(
    st.tuples(st.just("wait"), st.integers(1, 10 * MINUTE))
    | st.tuples(st.just("sleep"), st.integers(1, 90 * MINUTE))
    | st.tuples(st.just("end"), st.integers(0, 5))
    | st.tuples(COMMANDS, st.integers(0, 30 * MINUTE)),
    max_size=40,
)


@given(st.sampled_from(("skip", "queue", "allow", "cancel")), ACTIONS)
def test_whatever_happens_no_tick_starts_twice_and_all_are_accounted_for(overlap, actions):
    model = Model(spec(overlap=overlap, catch_up=20 * MINUTE))
    filled = triggers = paused = 0
    for number, (what, how) in enumerate(actions):
        match what:
            case "wait":
                model.wait(how)
            case "sleep":
                model.sleep(how)
            case "end" if model.running:
                id = model.running[how % len(model.running)]
                again = model.started.count(id) > 1
                model.end(id, None if again else "completed")
            case "pause":
                paused += 1
                model.tell(Pause(at=model.now - how, note=""))
            case "resume":
                model.tell(Resume(at=model.now))
            case "trigger":
                triggers += 1
                model.tell(Trigger(at=model.now, id=f"t{number}", overlap="queue"))
            case "backfill" | "backfill all":
                filled += 1
                ways = {"backfill": "queue", "backfill all": "allow"}
                model.tell(Backfill(at=model.now, start=model.now - how, end=model.now, overlap=ways[what]))
            case "update":
                model.tell(Update(at=model.now, spec=spec(overlap=overlap, catch_up=20 * MINUTE)))
        if overlap != "allow" and not filled:
            assert len(model.running) <= 1
    progress = model.progress
    if not filled:
        assert len(set(model.started)) == len(model.started)
    assert len(model.started) == progress.started + progress.existing
    assert len(progress.recent) <= core.RECENT_MAX
    model.wait(0)
    if not filled and not paused:
        past = (model.now - T0) // MINUTE + triggers
        progress = model.progress
        settled = progress.started + progress.skipped + progress.missed + (progress.waiting is not None)
        assert settled == past


def test_a_schedule_is_kept_as_json_that_says_its_format():
    kept = Kept(id="s", spec=spec(jitter=5), progress=Progress(next=7), unobeyed=Resume(at=1))
    assert decode(encode(kept), Kept) == kept
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode({"type": "unknown"}), type=Command)
