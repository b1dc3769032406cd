"""What a turn tells of an instance is decided from the heads before and after it."""

from typing import Any

import msgspec
import pytest

from perdure.errors import InvalidArgument
from perdure.history.events import Failure
from perdure.history.lifecycle import TEXT_CHARACTERS_MAX, Wanted, notices_of, purged, read
from perdure.stores.contract import Halt, Head, Turn

PENDING = Head("a", "shop", "echo", "pending", "e1", 1, 0, created=1, updated=1)
RUNNING = msgspec.structs.replace(PENDING, status="running", sequence=1)
HALT = Halt("why", 5, "in words")


def told(before: Head, failure: Failure | None = None, **changes: Any) -> list[str]:
    after = msgspec.structs.replace(before, sequence=before.sequence + 1, **changes)
    turn = Turn(1, "a", "e1", 1, before.sequence, 9, after)
    return [read(notice.event).kind for notice in notices_of(before, turn, failure)]


def test_each_change_has_a_kind() -> None:
    assert told(PENDING, status="running") == ["started"]
    assert told(PENDING, status="completed", finished=9) == ["started", "completed"]
    assert told(PENDING, status="terminated", finished=9) == ["terminated"]
    assert told(PENDING, generation=2) == ["started", "continued"]
    assert told(msgspec.structs.replace(PENDING, generation=2), status="running") == []
    assert told(RUNNING) == []
    assert told(RUNNING, status="canceled", finished=9) == ["canceled"]
    assert told(RUNNING, suspended=HALT) == ["suspended"]
    assert told(msgspec.structs.replace(RUNNING, suspended=HALT), suspended=None) == ["resumed"]
    assert told(msgspec.structs.replace(RUNNING, suspended=HALT), suspended=None, status="terminated") == ["terminated"]
    assert told(PENDING, stalled=HALT) == ["stalled"]
    stalled = msgspec.structs.replace(PENDING, stalled=HALT)
    assert told(stalled, stalled=Halt("another", 6)) == ["stalled"]
    assert told(stalled, custom_status=None) == []
    assert told(stalled, stalled=None, status="running") == ["recovered", "started"]
    assert told(msgspec.structs.replace(RUNNING, status="failed"), status="running") == ["rewound"]


def test_only_lives_of_workflows_are_told() -> None:
    schedule = msgspec.structs.replace(PENDING, kind="schedule")
    assert told(schedule, status="running") == []
    assert purged(schedule, 9) is None
    assert notices_of(RUNNING, Turn(1, "a", "e1", 1, 1, 9, None), None) == []


def test_an_id_is_the_same_whenever_it_is_told_and_texts_are_bounded() -> None:
    failure = Failure("ValueError", "x" * 5_000)
    after = msgspec.structs.replace(RUNNING, status="failed", sequence=7, tags={"k": "v"}, parent="p")
    turn = Turn(1, "a", "e1", 1, 6, 1_000_000, after)
    (first,), (second,) = (notices_of(RUNNING, turn, failure) for _ in range(2))
    assert first == second
    event = read(first.event)
    assert (event.id, event.sequence, event.time) == ("e1.7.failed", "000000000007", "1970-01-01T00:00:01Z")
    assert event.data["failure"] == {"type": "ValueError", "message": "x" * TEXT_CHARACTERS_MAX}
    assert (event.data["tags"], event.data["parent"]) == ({"k": "v"}, "p")
    raw = msgspec.json.decode(first.event)
    assert {"specversion", "id", "source", "type"} <= raw.keys()


def test_who_listens_says_what_he_wants() -> None:
    (notice,) = notices_of(PENDING, Turn(1, "a", "e1", 1, 0, 9, RUNNING), None)
    event = read(notice.event)
    assert Wanted.of(None, None, None).fits(event)
    assert Wanted.of(["perdure.workflow.started"], "echo", "a").fits(event)
    assert not Wanted.of("failed", None, None).fits(event)
    assert not Wanted.of(None, "other", None).fits(event)
    assert not Wanted.of(None, None, "b").fits(event)
    with pytest.raises(InvalidArgument, match="there are started"):
        Wanted.of(["ended"], None, None)
