"""The store contract in plain dicts: the executable specification, and the oracle of every other store.

Everything of a call happens at once inside its coroutine. Nothing outlives the object, but the object
outlives the engines that use it: a simulator closes it, calls `expire` and opens it again, as a dead
process's heir. With `lease_seconds` leases run out, as where many nodes share a database.
Each part of the contract has a module of the same subject.
"""

from __future__ import annotations

from perdure.stores.memory.inspection import Inspecting
from perdure.stores.memory.leases import Leasing
from perdure.stores.memory.ledger import Auditing
from perdure.stores.memory.moving import Moving
from perdure.stores.memory.notices import Noticing
from perdure.stores.memory.reading import Reading
from perdure.stores.memory.wake import Waking
from perdure.stores.memory.writing import Writing


class MemoryStore(Reading, Noticing, Writing, Moving, Leasing, Waking, Auditing, Inspecting):
    """An `EngineStore` that lives as long as the object."""


__all__ = ["MemoryStore"]
