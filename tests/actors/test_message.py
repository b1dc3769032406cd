"""Messages in memory."""

import asyncio
import gc

from perdure.actors.message import Message, keys_of
from perdure.history.events import SlotGranted, TimerFired


def test_the_collector_sees_through_a_message_that_will_be_answered():
    """Its answer leads to who asked, and often back to the mailbox: unseen, such a circle would never be freed."""

    async def scenario() -> bool:
        return gc.is_tracked(Message("event", answer=asyncio.get_running_loop().create_future()))

    assert asyncio.run(scenario())


def test_that_a_slot_was_given_is_remembered_because_the_same_call_may_wait_for_another():
    granted = Message(SlotGranted(at=1, number=1), "slot", stored=True)
    replied = Message(TimerFired(at=1, number=2, due=1), "timer", stored=True)
    assert keys_of([granted, replied]) == (["slot", "timer"], ["slot"])
