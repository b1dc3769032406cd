"""Who may run next: limits, priority, turns of keys, the bound of waiting, and the window of a rate."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from perdure.history.options import Limits
from perdure.scheduler.limiter import AGED_EVERY, RETURNING, Limiter, Ticket, in_order

SECOND = 1_000_000


def ticket(number: int, key: str = "", priority: int = 0, since: int | None = None) -> Ticket:
    return Ticket(("i", "e", 1, number), key, priority, number if since is None else since)


def limiter(*tickets: Ticket, **limits: int) -> Limiter:
    made = Limiter(Limits(**limits))
    for one in tickets:
        made.join(one)
    return made


def admitted(limiter: Limiter, now: int = 0) -> list[int]:
    """The numbers of those that get a slot now."""
    found = []
    while (one := limiter.admit(now)) is not None:
        found.append(one.address[3])
    return found


def test_no_more_run_than_there_are_slots_and_a_freed_one_goes_on():
    made = limiter(*(ticket(number) for number in range(5)), concurrency=2)
    assert admitted(made) == [0, 1]
    made.leave(("i", "e", 1, 1))
    assert admitted(made) == [2]


def test_a_key_that_has_its_slots_is_passed_over():
    made = limiter(*(ticket(n, "a") for n in range(3)), ticket(9, "b"), concurrency=3, per_key=1)
    assert admitted(made) == [0, 9]
    made.leave(("i", "e", 1, 9))
    assert admitted(made) == []
    made.leave(("i", "e", 1, 0))
    assert admitted(made) == [1]


def test_keys_take_turns_however_many_one_of_them_brings():
    flood = [ticket(n, "flood") for n in range(100)]
    made = limiter(*flood, ticket(200, "small"), ticket(201, "small"))
    assert [made.admit(0).key for _ in range(3)] == ["flood", "small", "flood"]


def test_a_higher_priority_goes_first():
    assert admitted(limiter(ticket(0), ticket(1, priority=5), ticket(2, priority=-1))) == [1, 0, 2]


def test_nobody_starves_while_others_of_higher_priority_keep_coming():
    made = limiter(ticket(0, "low"), *(ticket(n, "high", 9) for n in range(1, 100)), concurrency=1)
    slots = 0
    while True:
        slots += 1
        one = made.admit(0)
        if one.key == "low":
            break
        made.leave(one.address)
        made.join(ticket(1_000 + slots, "high", 9))
    assert slots <= AGED_EVERY


def test_who_returns_goes_before_even_the_one_that_waits_longest():
    made = limiter(ticket(0), *(ticket(n, priority=RETURNING) for n in range(10, 20)), concurrency=10)
    assert admitted(made) == list(range(10, 20))


def test_a_rate_holds_in_every_window_and_says_when_to_look_again():
    made = limiter(*(ticket(n) for n in range(5)), rate=2, per=10 * SECOND)
    assert made.admit(0).address[3] == 0
    assert made.admit(4 * SECOND).address[3] == 1
    assert made.admit(5 * SECOND) is None
    assert made.pause(5 * SECOND) == pytest.approx(5.0)
    assert made.admit(10 * SECOND) is not None
    assert made.admit(10 * SECOND) is None
    assert made.pause(10 * SECOND) == pytest.approx(4.0)


def test_a_rate_counts_starts_that_another_owner_allowed():
    made = limiter(ticket(0), rate=2, per=10 * SECOND)
    made.recall([0, SECOND])
    assert made.admit(2 * SECOND) is None
    assert made.admit(10 * SECOND) is not None


def test_a_place_that_was_given_is_kept_when_the_limit_has_sunk():
    made = limiter(ticket(5), concurrency=1)
    for number in (1, 2, 2):
        made.occupy(("i", "e", 1, number), "")
    made.leave(("i", "e", 1, 1))
    assert made.admit(0) is None
    made.leave(("i", "e", 1, 2))
    assert made.admit(0) is not None


def test_leaving_twice_frees_one_slot():
    made = limiter(ticket(0), ticket(1), ticket(2), concurrency=1)
    made.admit(0)
    made.leave(("i", "e", 1, 0))
    made.leave(("i", "e", 1, 0))
    assert admitted(made) == [1]


def test_the_order_of_those_that_wait():
    tickets = [ticket(0, "a"), ticket(1, "a"), ticket(2, "b"), ticket(3, "a", 1)]
    assert [one.address[3] for one in in_order(tickets)] == [3, 0, 2, 1]


@pytest.mark.parametrize("seed", range(200))
def test_never_more_than_the_limits_and_everybody_runs(seed):
    dice = random.Random(seed)
    limits = Limits(
        concurrency=dice.choice((None, 1, 3)),
        per_key=dice.choice((None, 1, 2)),
        rate=dice.choice((None, 2, 5)),
        per=10 * SECOND,
    )
    made, now, running = Limiter(limits), 0, {}
    waiting = [ticket(n, dice.choice("abc"), dice.randrange(3)) for n in range(60)]
    starts, done = [], 0
    while done < 60:
        now += dice.randrange(2 * SECOND)
        if waiting and dice.random() < 0.7:
            made.join(waiting.pop())
        one = made.admit(now)
        if one is not None:
            running[one.address] = one.key
            starts.append(now)
        if running and dice.random() < 0.5:
            address = dice.choice(sorted(running))
            del running[address]
            made.leave(address)
            done += 1
        assert len(running) <= (limits.concurrency or 60)
        assert max(Counter(running.values()).values(), default=0) <= (limits.per_key or 60)
    if limits.rate is not None:
        assert all(later - first >= limits.per for first, later in zip(starts, starts[limits.rate :], strict=False))
    assert len(made) == 0


def test_a_start_that_comes_after_its_window_counts_anew():
    rated = limiter(ticket(1), ticket(2), ticket(3), rate=2, per=SECOND)
    assert admitted(rated) == [1, 2]
    assert rated.count(SECOND)  # who got its slot long ago begins only now
    assert admitted(rated, SECOND) == [3]
    assert not rated.count(SECOND)
