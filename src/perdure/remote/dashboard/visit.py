"""One request of a browser, with what its page needs: who asks, which target and app, and how pages link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode

from starlette.requests import Request

from perdure.clock import Clock
from perdure.errors import InvalidArgument, NotPermitted
from perdure.remote.dashboard.counted import Counted
from perdure.remote.dashboard.seal import Session
from perdure.remote.dashboard.targets import Target
from perdure.sdk.client import Client
from perdure.sdk.gateway import Gateway
from perdure.sdk.role import Role

ID_CHARACTERS_MAX = 1_024
"""Length of an id in an address."""


class Guarded(Protocol):
    """What takes a role."""

    @property
    def role(self) -> Role: ...


A = TypeVar("A", bound=Guarded)


@dataclass(kw_only=True)
class Visit:
    """One request. `target`, `app`, `apps` and `opened` are of pages about a target.

    `has_token`: its visitor has shown a token.
    """

    request: Request
    session: Session
    clock: Clock
    counted: Counted[Any]
    target: Target | None = None
    app: str = ""
    apps: Sequence[str] = ()
    opened: Client | None = None
    form: Mapping[str, str] = field(default_factory=dict)
    has_token: bool = False

    @property
    def now(self) -> int:
        return self.clock.now()

    @property
    def root(self) -> str:
        """Where the dashboard is mounted."""
        return str(self.request.scope.get("root_path", "")).rstrip("/")

    @property
    def role(self) -> Role:
        """What may be done here."""
        return self.session.role if self.target is None else min(self.session.role, self.target.role)

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query_params

    @property
    def is_fragment(self) -> bool:
        """Whether a page of ours asks for its own live part."""
        return self.request.headers.get("hx-request") == "true"

    @property
    def client(self) -> Client:
        assert self.opened is not None, "only of a page about a target"
        return self.opened

    @property
    def gateway(self) -> Gateway:
        return self.client.gateway

    @property
    def id(self) -> str:
        """The instance or schedule that a page is about. Raises InvalidArgument."""
        id = self.query.get("id", "")
        if not id or len(id) > ID_CHARACTERS_MAX:
            raise InvalidArgument("the address names no instance; choose one from the list")
        return id

    def may(self, role: Role) -> bool:
        return self.role >= role

    def require(self, role: Role) -> None:
        """Raises NotPermitted."""
        if not self.may(role):
            where = f" at {self.target.name}" if self.target is not None else ""
            raise NotPermitted(f"this takes the role {role.word}, and yours{where} is {self.role.word}")

    def action(self, actions: Mapping[str, A]) -> A:
        """The action that the address names, by a caller who may take it. Raises InvalidArgument, NotPermitted."""
        action = actions.get(self.request.path_params["action"])
        if action is None:
            raise InvalidArgument("there is no such action")
        self.require(action.role)
        return action

    def link(self, page: str, **query: str) -> str:
        """The address of a page about the same target and app."""
        assert self.target is not None, "only of a page about a target"
        return self.to(f"/at/{self.target.name}/{page}", **({"app": self.app} if self.app else {}), **query)

    def to(self, path: str, **query: str) -> str:
        """An address within the dashboard."""
        told = urlencode({name: value for name, value in query.items() if value})
        return f"{self.root}{path}{'?' if told else ''}{told}"

    def facts(self) -> dict[str, Any]:
        """What every template may use."""
        return {"visit": self, "Role": Role}
