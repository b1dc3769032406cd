"""Histories as bars, graphs and rows; values and times as text: decided without I/O."""

from __future__ import annotations

import pytest

from perdure.clock import SECOND
from perdure.codec import Payload, encode
from perdure.history.audit_log import Anchor, Entry, Principal, Standing, chained
from perdure.history.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ChildCompleted,
    ChildCreated,
    EventRaised,
    Failure,
    RunResumed,
    RunStarted,
    RunSuspended,
    TimerCancelled,
    TimerCreated,
    TurnStarted,
    UpdateAnswered,
    UpdateRequested,
)
from perdure.history.state import InstanceState
from perdure.history.waiting import wait_states
from perdure.remote.dashboard.views import moments
from perdure.remote.dashboard.views.activity import COLUMNS, chart
from perdure.remote.dashboard.views.calls import calls_of, with_waits
from perdure.remote.dashboard.views.filters import Filters, filters_of
from perdure.remote.dashboard.views.graph import NODES_MAX, graph
from perdure.remote.dashboard.views.ledger import deeds_of, is_chained
from perdure.remote.dashboard.views.machines import ranges
from perdure.remote.dashboard.views.record import causes_of, entries_of, failure_text
from perdure.remote.dashboard.views.rows import row_of, standing
from perdure.remote.dashboard.views.timeline import BARS_MAX, timeline
from perdure.remote.dashboard.views.values import CHARACTERS_MAX, brief, shown
from perdure.stores.contract import Halt, Wait

START = 1_700_000_000 * SECOND


def at(seconds: float) -> int:
    return START + round(seconds * SECOND)


def failure(message: str = "declined") -> Failure:
    return Failure("ValueError", message, cause=Failure("KeyError", "'x'", stack="line 1\nline 2"))


RUN = [
    TurnStarted(at=at(0)),
    RunStarted(at=at(0), name="checkout", input=encode({"a": 1})),
    ActivityScheduled(number=1, name="charge"),
    TurnStarted(at=at(2)),
    ActivityCompleted(at=at(2), number=1, result=encode("paid"), attempt=3, started=at(1.5)),
    ActivityScheduled(number=2, name="pack"),
    ActivityScheduled(number=3, name="pack"),
    TurnStarted(at=at(3)),
    ActivityCompleted(at=at(3), number=2),
    TurnStarted(at=at(4)),
    ActivityCompleted(at=at(4), number=3),
    TimerCreated(number=4, due=at(100)),
    TurnStarted(at=at(6)),
    EventRaised(at=at(6), name="approved", data=encode(True)),
    TimerCancelled(at=at(6), number=4),
    ChildCreated(number=5, name="ship", instance="i:5"),
    TurnStarted(at=at(8)),
    ChildCompleted(at=at(8), number=5),
    ActivityScheduled(number=6, name="mail"),
    TurnStarted(at=at(10)),
    ActivityFailed(at=at(10), number=6, failure=failure()),
]


def test_a_history_is_read_as_calls_with_their_ends():
    calls = calls_of(RUN)
    assert [(call.kind, call.name, call.number, call.state) for call in calls] == [
        ("activity", "charge", 1, "done"),
        ("activity", "pack", 2, "done"),
        ("activity", "pack", 3, "done"),
        ("timer", "sleep", 4, "canceled"),
        ("event", "approved", 0, "done"),
        ("child", "ship", 5, "done"),
        ("activity", "mail", 6, "failed"),
    ]
    charge = calls[0]
    assert (charge.begun, charge.ended, charge.started, charge.attempt) == (at(0), at(2), at(1.5), 3)
    assert calls[-1].problem == "ValueError: declined"
    assert calls[5].instance == "i:5"


def test_a_pause_and_an_update_last_until_their_end():
    calls = calls_of(
        [
            TurnStarted(at=at(0)),
            RunSuspended(at=at(1)),
            UpdateRequested(at=at(1), key="k", name="add"),
            RunResumed(at=at(5)),
            UpdateAnswered(at=at(6), key="k", failure=failure()),
            RunSuspended(at=at(7)),
        ]
    )
    assert [(call.kind, call.begun, call.ended, call.state) for call in calls] == [
        ("suspension", at(1), at(5), "done"),
        ("update", at(1), at(6), "failed"),
        ("suspension", at(7), None, "open"),
    ]


def test_bars_stand_where_their_calls_were():
    bars = timeline(calls_of(RUN), at(0), at(10)).bars
    charge, pack = bars[0], bars[1]
    assert (charge.left, charge.width, charge.waited, charge.took) == (0, 20, 15, "2.00 s")
    assert charge.note == "attempt 3"
    assert (pack.left, pack.width, pack.waited) == (20, 10, 0)
    assert bars[4].took == ""
    assert all(bar.left >= 0 and bar.left + bar.width <= 100.0001 and bar.width > 0 for bar in bars)


def test_what_is_open_lasts_to_the_end_of_the_timeline():
    shown_at = timeline(calls_of(RUN[:3]), at(0), at(60))
    (bar,) = shown_at.bars
    assert (bar.state, bar.left, bar.width) == ("open", 0, 100)
    assert [tick.label for tick in shown_at.ticks] == ["0", "20 s", "40 s"]


@pytest.mark.parametrize("seconds", [0.000_001, 0.5, 3, 59, 200, 5_000, 90_000, 5_000_000, 10**10])
def test_ticks_are_few_and_on_the_timeline(seconds):
    ticks = timeline([], at(0), at(seconds)).ticks
    assert 1 <= len(ticks) <= 6
    assert all(0 <= tick.left < 100 for tick in ticks)


def test_a_long_history_has_a_bounded_timeline():
    events = [
        event for number in range(1, 1_001) for event in (ActivityScheduled(at=at(number), number=number, name="a"),)
    ]
    found = timeline(calls_of(events), at(0), at(2_000))
    assert (len(found.bars), found.left_out) == (BARS_MAX, 1_000 - BARS_MAX)
    assert (found.bars[0].number, found.bars[-1].number) == (1, 1_000)


def test_the_graph_leads_from_what_came_to_what_was_asked_for():
    found = graph(calls_of(RUN), "failed")
    boxes = [(box.label, box.detail, box.state) for box in found.boxes]
    assert boxes == [
        ("start", "", "done"),
        ("charge", "#1", "done"),
        ("pack", "\N{MULTIPLICATION SIGN}2", "done"),
        ("sleep", "#4", "canceled"),
        ("approved", "", "done"),
        ("ship", "#5", "done"),
        ("mail", "#6", "failed"),
        ("failed", "", "failed"),
    ]
    column = {box.label: (box.x - found.boxes[0].x) // (found.boxes[1].x - found.boxes[0].x) for box in found.boxes}
    assert column == {"start": 0, "charge": 1, "pack": 2, "sleep": 3, "approved": 3, "ship": 4, "mail": 5, "failed": 6}
    assert len(found.lines) == 6
    assert max(box.x for box in found.boxes) < found.width


def test_a_graph_of_very_much_is_bounded():
    events = []
    for number in range(1, 501):
        events += [
            TurnStarted(at=at(number)),
            ActivityScheduled(number=number, name=f"a{number}"),
            TurnStarted(at=at(number + 0.5)),
            ActivityCompleted(at=at(number + 0.5), number=number),
        ]
    found = graph(calls_of(events), None)
    assert len(found.boxes) == NODES_MAX + 1
    assert found.left_out == 500 - NODES_MAX


def test_an_empty_run_has_a_graph_of_its_own():
    assert [box.label for box in graph([], "completed").boxes] == ["start", "completed"]


def test_entries_name_what_they_answer():
    entries = list(entries_of(RUN))
    assert [entry.index for entry in entries] == list(range(1, len(RUN) + 1))
    by_index = {entry.index: entry for entry in entries}
    assert (by_index[5].type, by_index[5].name, by_index[5].brief) == ("ActivityCompleted", "charge", '"paid"')
    assert ("attempt", "3") in by_index[5].facts
    assert ("started", "2023-11-14 22:13:21 UTC") in by_index[5].facts
    assert by_index[21].tone == "bad"
    assert by_index[21].values[0][1].text == "ValueError: declined\ncaused by KeyError: 'x'\nline 1\nline 2"
    assert by_index[2].offset == "+0 ms"


def test_failures_are_told_with_their_causes():
    assert causes_of(failure("no")) == ["ValueError: no", "KeyError: 'x'"]
    assert failure_text(failure("no")) == "ValueError: no\ncaused by KeyError: 'x'\nline 1\nline 2"


def test_values_are_indented_cut_and_never_hidden():
    assert shown(None) is None
    small = shown(encode({"a": [1, None]}))
    assert small is not None
    assert (small.text, small.is_short) == ('{"a":[1,null]}', True)
    large = shown(encode({"items": ["x" * 30] * 5}))
    assert large is not None
    assert large.text.startswith('{\n  "items": [\n')
    huge = shown(encode("y" * 100_000))
    assert huge is not None
    assert len(huge.text) == CHARACTERS_MAX
    assert "of 100,002 characters" in huge.note
    damaged = shown(Payload("json", None, b"\xff{"))
    assert damaged is not None
    assert damaged.text == "\ufffd{"
    packed = shown(Payload("json+aes", "k1", b'"AAAA"'))
    assert packed is not None
    assert (packed.text, packed.encoding) == ("<encrypted, key k1>", "json+aes")


def test_a_brief_value_is_one_line():
    assert brief(encode({"a": "b\nc"})) == '{"a":"b\\nc"}'
    assert len(brief(encode("x" * 500))) == 60
    assert brief(None) == ""


def test_filters_come_from_an_address_and_go_back_into_one():
    found = filters_of({"state": "stalled", "name": " checkout ", "tag": "team = a=b", "since": "1h", "x": "y"})
    query = found.query(at(7_200))
    assert (query.name, query.stalled, query.status, query.tags) == ("checkout", True, (), {"team": "a=b"})
    assert query.created_after == at(3_600)
    assert found.words() == "state=stalled&name=checkout&tag=team+%3D+a%3Db&since=1h"
    assert filters_of({"state": "failed", "since": "never"}).query(0).status == ("failed",)
    assert filters_of({"state": "<b>", "cursor": "c"}).is_empty
    assert Filters(cursor="c", name="n").words(name="m") == "name=m"
    assert Filters(name="n").words(cursor="d") == "name=n&cursor=d"


def test_a_row_tells_how_an_instance_stands():
    state = InstanceState(
        id="i", app="a", name="n", status="running", execution="e", generation=1, created=at(0), updated=at(1),
        tags={key: key for key in "abcde"}, custom_status=encode("packing"), suspended=Halt("fraud", at(5)),
    )  # fmt: skip
    row = row_of(state, at(65))
    assert (row.state, row.took, row.ago, row.note, row.tags_more) == (
        "suspended",
        "1m 05s",
        "1 min ago",
        '"packing"',
        2,
    )
    assert standing(InstanceState(id="i", app="a", name="n", status="failed", execution="e", generation=1, created=0,
                                  updated=0, stalled=Halt("x", 0))) == "failed"  # fmt: skip


def test_times_are_told_in_two_units():
    spans = {
        0.0354: "35 ms",
        1.25: "1.25 s",
        12.9: "12 s",
        185: "3m 05s",
        7_800: "2h 10m",
        356_400: "4d 03h",
        -5: "0 ms",
    }
    assert {seconds: moments.span(round(seconds * SECOND)) for seconds in spans} == spans
    agos = {0: "now", 43: "40 s ago", 301: "5 min ago", 7_300: "2 h ago", 180_000: "2 d ago", -300: "in 5 min"}
    assert {seconds: moments.ago(at(0), at(seconds)) for seconds in agos} == agos
    assert moments.clock(None) == ""
    assert moments.clock(10**18) == "9999-12-31 23:59:59"
    assert moments.rounded(120 * SECOND) == "2m"


def _started(seconds: float, status: str = "running") -> InstanceState:
    return InstanceState(
        id="i", app="a", name="n", status=status, execution="e", generation=1, created=at(seconds), updated=0
    )


def test_the_chart_shows_only_times_of_which_every_start_is_known():
    states = [_started(1_000 - second, "failed" if second % 10 == 0 else "completed") for second in range(400)]
    cut = chart(states, at(1_000), is_all=False)
    assert (cut.window, cut.total) == ("5m", 301)
    whole = chart(states, at(1_000), is_all=True)
    assert (whole.window, whole.total) == ("15m", 400)
    assert len(cut.columns) <= COLUMNS
    for column in cut.columns:
        assert sum(part.height for part in column.parts) <= 100.001
        assert all(part.top >= -0.001 for part in column.parts)
    assert chart([], at(0), is_all=True).total == 0


def test_shards_are_told_by_their_ends():
    assert ranges([3, 0, 1, 2, 7, 9, 10]) == "0-3, 7, 9-10"
    assert ranges([]) == ""


def _log(count: int) -> list[tuple[int, str]]:
    actor = Principal(kind="cli", name="ann", place="desk")
    entries = [Entry(number=0, previous="", at=at(n), app="shop", action="cancel", instance=f"i{n}", actor=actor)
               for n in range(count)]  # fmt: skip
    entries.append(
        Entry(number=0, previous="", at=at(9), app="shop", action="cancel", instance="i0", actor=actor, of=1,
              outcome="done", after=Standing("canceled", "x", 1))
    )  # fmt: skip
    stored, _ = chained(entries, Anchor())
    return [(number, data.decode()) for number, data in enumerate(stored, 1)]


def test_an_action_is_told_with_what_became_of_it():
    deeds = deeds_of([*_log(3), (5, "nonsense")], at(10))
    assert [(deed.number, deed.instance, deed.outcome, deed.after) for deed in deeds] == [
        (5, "", "", ""),
        (3, "i2", "", ""),
        (2, "i1", "", ""),
        (1, "i0", "done", "canceled"),
    ]
    assert deeds[0].action == "cannot be read"


def test_entries_that_were_changed_or_taken_away_break_the_chain():
    log = _log(4)
    assert is_chained(log)
    assert is_chained(log[2:])
    assert not is_chained([*log[:1], *log[2:]])
    changed = [(number, stored.replace('"i1"', '"i9"')) for number, stored in log]
    assert not is_chained(changed)


def test_open_calls_are_told_how_far_their_attempts_are_and_what_is_waited_for():
    calls = calls_of([TurnStarted(at=at(0)), ActivityScheduled(at=at(0), number=1, name="reach")])
    waits = wait_states(
        [
            Wait(1, "activity", "reach", at(0), due=at(90), attempt=3, failure=b'{"type":"OSError","message":"503"}'),
            Wait(-1, "event", "approved", at(5)),
            Wait(-2, "queue", "q", at(5)),
        ]
    )
    bars = timeline(with_waits(calls, waits), at(0), at(10)).bars
    assert [(bar.kind, bar.label, bar.state, bar.note) for bar in bars] == [
        ("activity", "reach", "open", "attempt 3, again at 22:14:50"),
        ("wait", "approved", "open", ""),
    ]
    assert bars[0].title.endswith("; OSError: 503")
    assert (bars[1].left, bars[1].width) == (50, 50)
