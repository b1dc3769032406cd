"""The records that resource files are read into. All are frozen; what was secret in them is shown by none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """What every resource has. `scopes` are the apps that may use it, none meaning all; `place` is FILE:LINE."""

    name: str
    scopes: tuple[str, ...] = ()
    place: str = ""

    def is_for(self, app_id: str) -> bool:
        """Whether an app may use it."""
        return not self.scopes or app_id in self.scopes


class Component(Named, frozen=True, kw_only=True):
    """Something that a building block is served by, such as a database.

    `type` is its building block and its kind, as in `state.redis`; `metadata` its settings, by the names in which the
    component documents them, secrets filled in. `ignore_errors`: if it cannot be opened, the rest goes on without it.
    """

    type: str
    version: str
    metadata: Mapping[str, str] = {}
    ignore_errors: bool = False

    @property
    def block(self) -> str:
        """The building block that it serves: `state`, `pubsub`, `secretstores`, `configuration`, `conversation`."""
        return self.type.partition(".")[0]

    def __repr__(self) -> str:
        """Without the values of the metadata, of which some are secret."""
        return f"Component({self.name!r}, {self.type!r}, metadata of {', '.join(self.metadata) or 'nothing'})"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Where messages go that an expression is true of."""

    match: str
    path: str


class BulkSubscribe(msgspec.Struct, frozen=True, kw_only=True):
    """Messages are handed over many at a time: so many at most, and after so many milliseconds at the latest."""

    messages_max: int | None = None
    wait_milliseconds: int | None = None


class Subscription(Named, frozen=True, kw_only=True):
    """Messages of a topic go to a path of the app: of the first rule that matches, else to `path`."""

    pubsub: str
    topic: str
    path: str | None = None
    rules: tuple[Rule, ...] = ()
    metadata: Mapping[str, str] = {}
    dead_letter_topic: str | None = None
    bulk: BulkSubscribe | None = None


class Configuration(Named, frozen=True, kw_only=True):
    """Settings of Dapr's own runtime. They are checked and kept, and have no effect here."""

    spec: Mapping[str, object]


class OAuth(msgspec.Struct, frozen=True, kw_only=True):
    """How a token for a server of tools is got: with the credentials of a client, at the endpoint `issuer`."""

    issuer: str
    client_id: str | None = None
    client_secret: str | None = None
    audience: str | None = None
    scopes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Without the secret."""
        return f"OAuth({self.issuer!r}, client {self.client_id!r})"


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow that runs around a call of a tool. If it `mutates`, what it returns replaces what it was given."""

    workflow: str
    app_id: str | None = None
    mutates: bool = False


class McpServer(Named, frozen=True, kw_only=True):
    """A server of tools in the Model Context Protocol. `transport` is streamable_http, sse or stdio.

    `url`, `headers`, `timeout` (seconds), `protocol_version` and `oauth` are for the first two; `command`, its
    `arguments` and its `environment` for the last.
    """

    transport: str
    url: str | None = None
    headers: Mapping[str, str] = {}
    timeout: float | None = None
    protocol_version: str | None = None
    oauth: OAuth | None = None
    command: str | None = None
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    before_call: tuple[Hook, ...] = ()
    after_call: tuple[Hook, ...] = ()
    before_list: tuple[Hook, ...] = ()
    after_list: tuple[Hook, ...] = ()
    description: str | None = None

    def __repr__(self) -> str:
        """Without headers and environment, of which some are secret."""
        return f"McpServer({self.name!r}, {self.transport} {self.url or self.command!r})"


Found = TypeVar("Found", bound=Named)


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """All that the files say, in their order; `warnings` has a sentence for each setting that has no effect here."""

    components: tuple[Component, ...] = ()
    subscriptions: tuple[Subscription, ...] = ()
    configurations: tuple[Configuration, ...] = ()
    mcp_servers: tuple[McpServer, ...] = ()
    warnings: tuple[str, ...] = ()

    def of(self, app_id: str) -> Resources:
        """What an app may use of them, with its id where the metadata of a component says `{appID}`. Pure."""
        return Resources(
            components=tuple(_filled(one, app_id) for one in _for(self.components, app_id)),
            subscriptions=_for(self.subscriptions, app_id),
            configurations=_for(self.configurations, app_id),
            mcp_servers=_for(self.mcp_servers, app_id),
            warnings=self.warnings,
        )

    def block(self, name: str) -> tuple[Component, ...]:
        """The components of one building block."""
        return tuple(one for one in self.components if one.block == name)


def _for(found: Iterable[Found], app_id: str) -> tuple[Found, ...]:
    return tuple(one for one in found if one.is_for(app_id))


def _filled(component: Component, app_id: str) -> Component:
    metadata = {name: value.replace("{appID}", app_id) for name, value in component.metadata.items()}
    return msgspec.structs.replace(component, metadata=metadata)
