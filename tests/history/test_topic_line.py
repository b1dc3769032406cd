"""A line: messages of a key stay in order, nothing is lost or handed out twice, and what it holds is bounded."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from perdure.codec import encode
from perdure.history import topic_line
from perdure.history.events import MessagePublished
from perdure.history.subscribing import SubscribeOptions
from perdure.history.topic_line import Line
from perdure.history.topic_log import Group, Page, Pending, position_of


def page(base: int, keys: str, size: int = 1) -> Page:
    """A page of messages with these keys; a space stands for none."""
    made = [
        MessagePublished(topic="t", id=str(base + place), key=None if key == " " else key, data=encode("x" * size))
        for place, key in enumerate(keys)
    ]
    return Page(base, made)


def line_of(pages: list[Page], group: Group | None = None) -> Line:
    line = Line(group or Group(SubscribeOptions(), 0))
    feed(line, pages)
    return line


def feed(line: Line, pages: list[Page]) -> None:
    while wanted := line.wanted(len(pages)):
        for number in wanted:
            line.feed(number, pages[number])


def test_a_key_waits_for_its_first_message_and_others_do_not():
    line = line_of([page(0, "aab b")])
    first = [taken.position for taken in iter(lambda: line.take(0), None)]
    assert first == [0, 2, 3]
    line.done(0)
    assert line.take(0).position == 1
    line.retry(2, 50)
    assert line.take(49) is None
    again = line.take(50)
    assert (again.position, again.failed) == (2, 1)
    line.done(2)
    assert line.take(50).position == 4


def test_where_a_group_stands_is_enough_to_go_on():
    pages = [page(0, "aab"), page(3, "c")]
    line = line_of(pages)
    for _ in range(2):
        line.take(0)  # 0 and 2; 1 is behind 0
    line.done(2)
    line.retry(0, 70)
    group = line.standing(Group(SubscribeOptions(), 0))
    assert (group.next, group.pending) == (position_of(1), (Pending(0, 1, 70), Pending(1)))
    assert group.lowest == 0
    other = line_of(pages, group)
    assert other.take(10).position == position_of(1)
    assert other.take(10) is None
    assert (other.take(70).position, other.next_due) == (0, None)
    other.done(0)
    assert other.take(70).position == 1


def test_a_page_that_is_gone_is_passed():
    line = Line(Group(SubscribeOptions(), 0))
    line.feed(0, None)
    assert (line.next, line.is_empty) == (position_of(1), True)
    line = Line(Group(SubscribeOptions(), position_of(1), pending=(Pending(0),)))
    line.feed(0, None)
    assert line.is_restored
    assert line.is_empty


def test_a_message_that_was_not_handled_is_the_next_one_again():
    line = line_of([page(0, "ab")])
    taken = line.take(0)
    line.put_back(taken.position)
    assert line.take(0) == taken
    assert line.in_hand == 1


def test_what_a_group_comes_past_is_bounded(monkeypatch):
    monkeypatch.setattr(topic_line, "PENDING_MAX", 3)
    line = line_of([page(0, "aaaaab")])
    assert line.take(0).position == 0
    assert line.take(0) is None
    assert line.next == 3
    line.done(0)
    assert line.take(0).position == 1
    monkeypatch.setattr(topic_line, "PENDING_BYTES_MAX", 1)
    line.done(1)
    assert [line.take(0).position, line.take(0)] == [2, None]


def test_what_lies_ahead_in_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(topic_line, "WINDOW_MESSAGES", 4)
    monkeypatch.setattr(topic_line, "READ_PAGES", 2)
    line = Line(Group(SubscribeOptions(), 0))
    assert line.wanted(10) == [0, 1]
    for number in (0, 1):
        line.feed(number, page(3 * number, "abc"))
    assert line.wanted(10) == []
    for _ in range(3):
        line.take(0)
    assert line.wanted(10) == [2, 3]
    line.feed(7, page(21, "x"))  # appended meanwhile, and not next
    assert line.wanted(10) == [2, 3]


@pytest.mark.parametrize("seed", range(30))
def test_no_order_of_events_loses_repeats_or_reorders(seed):
    """Messages end, fail, and owners die and go on from what was written; retried ones come more than once."""
    dice = random.Random(seed)
    keys = ["".join(dice.choices("aabc ", k=dice.randint(1, 5))) for _ in range(30)]
    pages = [page(10 * number, each) for number, each in enumerate(keys)]
    group, line = Group(SubscribeOptions(), 0), line_of(pages)
    in_hand: list[topic_line.Taken] = []
    done: list[tuple[int, str | None]] = []
    for now in range(3_000):
        feed(line, pages)
        taken = line.take(now)
        if taken is not None:
            in_hand.append(taken)
        if in_hand and (taken is None or dice.random() < 0.4):
            ended = in_hand.pop(dice.randrange(len(in_hand)))
            if dice.random() < 0.2:
                line.retry(ended.position, now + dice.randrange(20))
            else:
                line.done(ended.position)
                done.append((ended.position, ended.message.key))
        if dice.random() < 0.02:  # what was done is written; the owner dies
            group = line.standing(replace(group, pending=()))
            line, in_hand = line_of(pages, group), []
        if line.is_empty and not line.wanted(len(pages)):
            break
    everything = sorted(position_of(n, place) for n, each in enumerate(pages) for place in range(len(each.messages)))
    assert sorted(position for position, _ in done) == everything
    for key in "abc":
        of_key = [position for position, each in done if each == key]
        assert of_key == sorted(of_key)
    assert line.next == position_of(len(pages))
