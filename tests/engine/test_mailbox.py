"""The mailbox of an instance: no message is lost between its lists, and whoever waits for one hears of it once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from perdure.actors.message import Message
from perdure.engine.mailbox import Mailbox
from perdure.errors import StoreUnavailable
from perdure.history.events import EventRaised


def stored(key: str) -> Message:
    return Message(EventRaised(name=key), key, stored=True)


def fresh(key: str) -> Message:
    return Message(EventRaised(name=key), key)


def keys(messages: Sequence[Message]) -> list[str | None]:
    return [message.key for message in messages]


def a_turn(taken: Sequence[Message], since: Sequence[Message] = ()) -> Mailbox:
    """A mailbox whose turn has taken some messages, and others have come since."""
    mailbox = Mailbox()
    for message in taken:
        mailbox.put(message)
    mailbox.take(mailbox.waiting, [])
    for message in since:
        mailbox.put(message)
    return mailbox


def test_a_turn_takes_all_or_some_and_the_rest_waits_in_its_order():
    mailbox = a_turn([stored("a"), fresh("b")])
    assert (keys(mailbox.taken), keys(mailbox.waiting)) == (["a", "b"], [])
    mailbox = Mailbox()
    for key in "abcd":
        mailbox.put(fresh(key))
    a, b, c, d = mailbox.waiting
    mailbox.take([c, a], [b, d])
    assert (keys(mailbox.taken), keys(mailbox.waiting)) == (["c", "a"], ["b", "d"])
    with pytest.raises(AssertionError, match="a message is lost"):
        mailbox.take([b], [])


def test_two_mailboxes_share_no_list():
    one, other = Mailbox(), Mailbox()
    one.put(fresh("a"))
    one.take_along(fresh("b"))
    assert (other.waiting, other.taken) == ([], [])


def test_what_is_given_back_comes_before_what_came_since():
    mailbox = a_turn([stored("a"), fresh("b")], [fresh("c")])
    mailbox.give_back()
    assert (keys(mailbox.taken), keys(mailbox.waiting)) == ([], ["a", "b", "c"])


def test_only_what_is_stored_is_given_back():
    mailbox = a_turn([stored("a"), fresh("b")], [fresh("c")])
    mailbox.give_back_stored()
    assert (keys(mailbox.taken), keys(mailbox.waiting)) == (["b"], ["a", "c"])


def test_what_lies_in_no_store_is_withdrawn_in_order():
    mailbox = a_turn([], [fresh("a"), stored("b"), fresh("c")])
    assert keys(mailbox.withdraw()) == ["a", "c"]
    assert keys(mailbox.waiting) == ["b"]
    assert mailbox.withdraw() == []


def test_the_untaken_are_those_in_the_store_taken_or_not():
    mailbox = a_turn([stored("a"), fresh("b")], [stored("c")])
    assert mailbox.untaken() == ["a", "c"]
    assert keys(mailbox.clear()) == ["b"]
    assert (mailbox.untaken(), mailbox.clear()) == ([], [])


def test_whoever_waits_hears_of_the_turn_once():
    async def play() -> None:
        loop = asyncio.get_running_loop()
        good, bad = Message(None, answer=loop.create_future()), Message(None, answer=loop.create_future())
        mailbox = a_turn([good])
        mailbox.settle()
        mailbox.settle(StoreUnavailable("too late"))
        assert good.answer is not None
        assert good.answer.result() is None
        mailbox.take_along(bad)
        mailbox.settle(StoreUnavailable("not written"))
        assert bad.answer is not None
        with pytest.raises(StoreUnavailable, match="not written"):
            bad.answer.result()

    asyncio.run(play())
