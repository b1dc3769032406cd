"""Time and identity as arguments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from perdure.clock import SystemClock, ordered_id, to_datetime, to_microseconds


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)))  # noqa: DTZ001
def test_times_survive_the_way_to_integers_and_back(at):
    assert to_datetime(to_microseconds(at)) == at


def test_zones_are_one_instant_and_naive_means_utc():
    there = datetime(2026, 1, 1, 3, tzinfo=timezone(timedelta(hours=3)))
    assert to_microseconds(there) == to_microseconds(datetime(2026, 1, 1, tzinfo=UTC))
    assert to_microseconds(datetime(1970, 1, 1)) == 0  # noqa: DTZ001


class Tick:
    """A clock that stands where it is put."""

    def __init__(self, at: int) -> None:
        self.at = at

    def now(self) -> int:
        return self.at

    def token(self) -> str:
        return "0123456789abcdef" * 2


def test_ids_sort_by_their_time():
    ids = [ordered_id(Tick(at)) for at in (0, 1, 10**9, 1_767_225_600_000_000, 253_402_300_799_999_999)]
    assert ids == sorted(ids)
    assert {len(id) for id in ids} == {32}


def test_the_machine_s_tokens_are_128_bits_and_differ():
    clock = SystemClock()
    tokens = {clock.token() for _ in range(1_000)}
    assert len(tokens) == 1_000
    assert all(len(bytes.fromhex(token)) == 16 for token in tokens)
    assert abs(clock.now() - datetime.now(UTC).timestamp() * 1_000_000) < 5_000_000
