"""What the HTTP room needs of the server that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from perdure.engine.load import Load
from perdure.remote.actors.actors import AppActors
from perdure.remote.app_channel import AppChannel
from perdure.remote.attributes import Attributes
from perdure.remote.conversation import ConversationDesk
from perdure.remote.pubsub.desk import PubsubDesk
from perdure.remote.secrets import SecretDesk
from perdure.remote.security import Policy
from perdure.remote.state import StateDesk
from perdure.remote.watching import ConfigurationDesk
from perdure.sdk.gateway import Gateway


class Hub(Protocol):
    """The server behind the routes. All of it may be asked while it starts and while it stops."""

    @property
    def policy(self) -> Policy:
        """Which app is served, and what callers have to show for it and for others."""

    @property
    def pubsub(self) -> PubsubDesk:
        """The pub/sub components of the apps."""

    async def gateway(self, app: str) -> Gateway:
        """The port to an app's engine. Raises NotOpen."""

    @property
    def state(self) -> StateDesk:
        """The state stores of the apps."""

    @property
    def secrets(self) -> SecretDesk:
        """The secret stores of the apps."""

    @property
    def configuration(self) -> ConfigurationDesk:
        """The configuration stores of the apps."""

    @property
    def conversation(self) -> ConversationDesk:
        """The language models of the apps."""

    def components(self, block: str) -> Sequence[str]:
        """The names of those of a block that the served app may use."""

    def channel(self, app: str) -> AppChannel | None:
        """How the program of an app is reached over HTTP; None if it is not."""

    def attributes(self, app: str) -> Attributes:
        """What clients have attached to an app's server."""

    def is_ready(self) -> bool:
        """Whether recovery has run, so that requests are served."""

    def metadata(self, app: str) -> Mapping[str, Any]:
        """What the server of an app says of itself, as JSON types, beside its id and its attributes."""

    async def load(self, app: str) -> Load:
        """How much the app has to do, and how much room its nodes have. Raises StoreError."""

    async def metrics(self, app: str, accept: str) -> tuple[bytes, str]:
        """What is counted of the app, as text of the type that is given with it. Raises NotOpen."""

    def actors(self, type: str, app: str) -> AppActors:
        """The actors of a type, of whichever app here hosts it, else of the given one."""

    def request_shutdown(self) -> None:
        """Begin to stop the server; returns at once."""
