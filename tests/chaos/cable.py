"""What lies between a node and the store, and can be cut."""

from __future__ import annotations

from enum import Enum
from typing import Protocol


class Mode(Enum):
    """What becomes of what is sent."""

    OPEN = "open"
    CUT = "cut"
    """Nothing arrives on either side, and nobody is told: as if a cable were pulled."""
    DEAF = "deaf"
    """What the node sends arrives, and no answer comes back."""
    MUTE = "mute"
    """What the store sends arrives, and nothing of the node does."""
    REFUSED = "refused"
    """Connections are reset, and new ones too."""
    SWALLOWED = "swallowed"
    """Requests arrive, their answers do not, and then the connection is reset: nobody knows what was committed."""


TO_STORE = (Mode.OPEN, Mode.DEAF, Mode.SWALLOWED)
TO_NODE = (Mode.OPEN, Mode.MUTE)


class Cable(Protocol):
    """One node's way to the store, at `host` and `port` for the node. `prefix` goes before the node's command."""

    host: str
    port: int
    prefix: tuple[str, ...]
    modes: frozenset[Mode]

    async def start(self) -> None: ...

    def turn(self, mode: Mode) -> None:
        """From now on. It must be one of `modes`."""

    def drop(self) -> None:
        """Reset the connections that there are."""

    async def stop(self) -> None: ...
