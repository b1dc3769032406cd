"""Who may call a server, and for which app: tokens, and the metadata that carries them."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator

import msgspec

from perdure.errors import InvalidArgument, NotAuthenticated, NotPermitted
from perdure.sdk.options import checked_name

TOKEN_KEY = "dapr-api-token"  # noqa: S105 the name of a header
"""The metadata key under which Dapr's clients send their token."""
BEARER_KEY = "authorization"
"""The key under which Microsoft's clients send theirs, after the word Bearer."""
APP_KEY = "dapr-app-id"
"""The key by which a caller names an app other than the listener's own."""
USER_KEY = "perdure-user"
"""The key by which Perdure's command line says who runs it, for the audit log alone."""
USER_CHARACTERS_MAX = 200
ANONYMOUS = "anonymous"
"""The name of callers of a port that asks for no token."""
TOKENS_PRESENTED_MAX = 4
"""Tokens of one call that are looked at; what comes after them is not."""
TOKEN_CHARACTERS_MAX = 4_096
"""Length of a token."""

Metadata = Iterable[tuple[str, str | bytes]]
"""Keys and values of a call, as gRPC and HTTP give them; keys in any case, and more than once if the caller likes."""


class Token:
    """A secret that callers share with the server. It is shown as asterisks. Raises InvalidArgument if no header could
    carry it."""

    __slots__ = ("_bytes",)

    def __init__(self, text: str) -> None:
        if not text or len(text) > TOKEN_CHARACTERS_MAX or not text.isascii() or not text.isprintable() or " " in text:
            raise InvalidArgument(
                f"an API token is 1 to {TOKEN_CHARACTERS_MAX:,} printable ASCII characters without blanks, "
                "because callers send it as a header"
            )
        self._bytes = text.encode()

    def matches(self, presented: bytes) -> bool:
        """Whether it is this token. How long the answer takes does not tell how much of it is right."""
        return hmac.compare_digest(self._bytes, presented)

    def reveal(self) -> str:
        """The token itself, for a program that is to call the server."""
        return self._bytes.decode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and other.matches(self._bytes)

    def __hash__(self) -> int:
        return hash(self._bytes)

    def __repr__(self) -> str:
        return "Token(***)"


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What one listener asks of its callers: it serves `app_id`, and the same server has listeners for `neighbours`.

    `api_token` opens them, `all_apps_token` any app that a caller names. Without either they are open to whoever
    reaches the port, and no other one is; over HTTP under the `hosts`, localhost and addresses in numbers (None: any).
    """

    app_id: str
    neighbours: frozenset[str] = frozenset()
    api_token: Token | None = None
    all_apps_token: Token | None = None
    hosts: frozenset[str] | None = None


class Grant(msgspec.Struct, frozen=True):
    """What a caller may do: act for `app`, and for each of `apps` that a request of it names; None: for any."""

    app: str
    apps: frozenset[str] | None
    name: str = ANONYMOUS
    """Which token was shown, for the audit log."""

    def covers(self, app: str) -> bool:
        """Whether the caller may act for the app."""
        return self.apps is None or app in self.apps

    def app_for(self, named: str | None) -> str:
        """The app that a request is for, if it names one, else the caller's own. Raises NotPermitted."""
        if not named:
            return self.app
        if not self.covers(named):
            raise NotPermitted(
                f"this port serves app {self.app!r} and the caller's token does not open {named!r}; "
                "call the port of that app, or name no app"
            )
        return named


def admit(metadata: Metadata, policy: Policy) -> Grant:
    """What the metadata of a call allows, and which app it is for.

    Raises NotAuthenticated, NotPermitted and InvalidArgument.
    """
    pairs = [(key.lower(), value) for key, value in metadata]
    tokens = list(_tokens(pairs))
    may_all = _any_matches(policy.all_apps_token, tokens)
    # because `or` would tell by its haste which of the two it was
    may_own = _any_matches(policy.api_token, tokens) | may_all
    if policy.api_token is not None and not may_own:
        raise NotAuthenticated(
            f"the server asks for an API token and the call has {'a wrong one' if tokens else 'none'}; "
            f"set DAPR_API_TOKEN for the program, or send it as the metadata {TOKEN_KEY}"
        )
    # because whoever may call the port of a neighbour gains nothing by naming it here
    apps = None if may_all else policy.neighbours | {policy.app_id}
    name = "all-apps-token" if may_all else "api-token" if policy.api_token is not None else ANONYMOUS
    return Grant(Grant(policy.app_id, apps).app_for(_app(pairs)), apps, name)


def admit_anybody(policy: Policy) -> Grant:
    """What whoever reaches the port may do where it is open to all: look at the numbers of its own server's apps."""
    return Grant(policy.app_id, policy.neighbours | {policy.app_id})


def _any_matches(token: Token | None, presented: list[bytes]) -> bool:
    found = False
    for each in presented:
        found |= token is not None and token.matches(each)
    return found


def _tokens(pairs: list[tuple[str, str | bytes]]) -> Iterator[bytes]:
    presented = [_token(key, value) for key, value in pairs if key in (TOKEN_KEY, BEARER_KEY)]
    yield from [each for each in presented[:TOKENS_PRESENTED_MAX] if each]


def _token(key: str, value: str | bytes) -> bytes:
    raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    if key == TOKEN_KEY:
        return raw
    scheme, _, token = raw.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def _app(pairs: list[tuple[str, str | bytes]]) -> str | None:
    """The app that a caller names, None if it names none. Raises InvalidArgument if it names two."""
    names = {
        value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        for key, value in pairs
        if key == APP_KEY
    }
    names.discard("")
    if len(names) > 1:
        raise InvalidArgument(f"the call names {len(names)} apps in {APP_KEY}; name one")
    return checked_name(names.pop(), "app id") if names else None
