"""The one suite that says whether a store keeps the contract, for the stores here and for those of others.

Derive a class from `StoreConformance` whose name begins with `Test`, say how a store is made, and run pytest:

    class TestMyStore(StoreConformance):
        async def make(self, directory): return MyStore(directory / "store")
        async def succeed(self, store): ...

Each topic of the contract has a module; what is imported is imported from here.
"""

from __future__ import annotations

from perdure.testing.conformance.auditing import Auditing
from perdure.testing.conformance.counting import Counting
from perdure.testing.conformance.creating import Creating
from perdure.testing.conformance.fences import Fences
from perdure.testing.conformance.finding import Finding
from perdure.testing.conformance.lives import Lives
from perdure.testing.conformance.mailboxes import Mailboxes
from perdure.testing.conformance.members import Members
from perdure.testing.conformance.moving import Moving
from perdure.testing.conformance.notices import Noticing
from perdure.testing.conformance.offers import Offers
from perdure.testing.conformance.purging import Purging
from perdure.testing.conformance.queues import Queues
from perdure.testing.conformance.reading import Reading
from perdure.testing.conformance.scene import (
    APP,
    EVENT,
    KEPT,
    ODD_IDS,
    OWNER,
    Scene,
    a_call,
    a_creation,
    a_head,
    a_mail,
)
from perdure.testing.conformance.sending import Sending
from perdure.testing.conformance.stage import Scenario, raised, scenario
from perdure.testing.conformance.streams import Streams
from perdure.testing.conformance.turns import Turns
from perdure.testing.conformance.waking import Waking


class StoreConformance(
    Creating,
    Reading,
    Turns,
    Streams,
    Queues,
    Sending,
    Mailboxes,
    Fences,
    Members,
    Lives,
    Waking,
    Offers,
    Finding,
    Purging,
    Counting,
    Auditing,
    Noticing,
    Moving,
):
    """One test for each sentence of the contract."""


__all__ = [
    # The suite, and how a test of a store's own is played on its stage.
    "StoreConformance", "Scenario", "scenario", "raised",
    # What its stories are told with.
    "Scene", "a_head", "a_call", "a_mail", "a_creation", "APP", "OWNER", "EVENT", "KEPT", "ODD_IDS",
]  # fmt: skip
