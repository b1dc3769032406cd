"""Where a definition belongs, as far as it needs to know: the app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from perdure.codec import Writer
from perdure.sdk.client import Client

if TYPE_CHECKING:
    from perdure.sdk.definitions import Definitions


class Home(Protocol):
    """The app that a definition belongs to."""

    @property
    def client(self) -> Client: ...
    @property
    def definitions(self) -> Definitions: ...
    @property
    def writer(self) -> Writer:
        """What makes payloads of values for it."""
