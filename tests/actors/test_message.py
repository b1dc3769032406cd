"""Messages in memory."""

import gc

from perdure.actors.message import Message


def test_the_collector_sees_through_a_message_that_will_be_answered():
    """Its answer leads to who asked, and often back to the mailbox: unseen, such a circle would never be freed."""
    assert gc.is_tracked(Message("event", answer=lambda error: None))
