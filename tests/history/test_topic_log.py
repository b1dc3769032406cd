"""The log of a partition: no page has the name of another that is kept, and what all have passed is forgotten."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from perdure.codec import encode
from perdure.history import topic_log
from perdure.history.events import MessagePublished
from perdure.history.subscribing import Begin, SubscribeOptions
from perdure.history.topic_log import (
    EMPTY,
    PAGE_MESSAGES_MAX,
    Log,
    append,
    decode_log,
    decode_page,
    encode_log,
    join,
    leave,
    name_of,
    position_of,
    trim,
    written,
)

OPTIONS = SubscribeOptions()


def messages(count: int, size: int = 1) -> list[MessagePublished]:
    return [MessagePublished(topic="t", id=str(number), data=encode("x" * size)) for number in range(count)]


def test_a_page_holds_what_a_turn_appends_as_far_as_it_fits():
    log, pages = append(Log(), messages(PAGE_MESSAGES_MAX + 1))
    assert [(page.base, len(page.messages)) for page in pages.values()] == [(0, PAGE_MESSAGES_MAX), (64, 1)]
    assert (log.next, log.count) == (2, 65)
    log, pages = append(log, messages(3, topic_log.PAGE_BYTES_MAX // 2))
    assert [len(page.messages) for page in pages.values()] == [1, 1, 1]
    assert append(log, []) == (log, {})


@pytest.mark.parametrize("seed", range(20))
def test_pages_that_are_kept_have_names_of_their_own(seed):
    """A group falls behind and catches up again and again; the rows are a dict, as the store has them."""
    dice = random.Random(seed)
    rows: dict[str, bytes] = {}
    log = join(Log(rings=(topic_log.Ring(0, 4),)), "g", OPTIONS, 0)
    for _ in range(400):
        if dice.random() < 0.55:
            before = {name_of(log, page) for page in range(log.first, log.next)}
            log, pages = append(log, messages(1))
            new = written(log, pages)
            assert before.isdisjoint(row.name for row in new)
            rows |= {row.name: row.value for row in new}
        else:
            group = log.groups["g"]
            page = min(log.next, group.next // PAGE_MESSAGES_MAX + dice.randrange(8))
            log = replace(log, groups={"g": replace(group, next=position_of(page))})
            log, passed = trim(log)
            rows |= {row.name: row.value for row in passed}
        for number in range(log.first, log.next):
            page = decode_page(rows[name_of(log, number)])
            assert page is not None
            assert page.base == number
        kept = sum(value != EMPTY for value in rows.values())
        assert kept == log.next - log.first
        assert len(log.rings) <= 12
    assert decode_log(encode_log(log)) == log


def test_a_turn_forgets_a_bounded_number_of_pages(monkeypatch):
    monkeypatch.setattr(topic_log, "TRIM_PAGES_MAX", 3)
    log = join(Log(), "g", OPTIONS, 0)
    for _ in range(5):
        log, _ = append(log, messages(1))
    log = replace(log, groups={"g": replace(log.groups["g"], next=position_of(5))})
    log, passed = trim(log)
    assert (log.first, len(passed)) == (3, 3)
    log, passed = trim(log)
    assert (log.first, len(passed)) == (5, 2)


def test_without_a_group_everything_is_kept_for_the_first():
    log, _ = append(Log(), messages(3))
    assert trim(log) == (log, [])
    log = join(log, "g", OPTIONS, 0)
    assert log.groups["g"].left == 3
    log = join(log, "new", SubscribeOptions(begin=Begin.NEWEST), 0)
    assert (log.groups["new"].left, log.groups["new"].next) == (0, position_of(1))
    log, _ = append(log, messages(2))
    assert [group.left for group in log.groups.values()] == [5, 2]
    changed = join(log, "g", SubscribeOptions(attempts_max=3), 0)
    assert (changed.groups["g"].left, changed.groups["g"].options.attempts_max) == (5, 3)
    assert list(leave(log, "g").groups) == ["new"]


def test_what_is_no_log_or_page_is_an_error():
    with pytest.raises(ValueError, match="Expected"):
        decode_page(b"{}")
    assert decode_page(EMPTY) is None
    assert decode_log(None) == Log()
