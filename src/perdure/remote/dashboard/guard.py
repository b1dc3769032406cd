"""Who may speak to the dashboard: which names it is reached by, where forms come from, what a browser may load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

import msgspec

from perdure.remote.security import Token
from perdure.sdk.role import Role

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""What every answer says: nothing inline runs, nothing from elsewhere is loaded, nobody frames a page."""
HOST_CHARACTERS_MAX = 255
_LOCAL = frozenset(("localhost",))


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a browser. `tokens` open the dashboard, each for a role; without any everybody has `role`.

    `hosts` are names by which it is reached beside localhost and the numbers of addresses.
    """

    tokens: Sequence[tuple[Token, Role]] = ()
    role: Role = Role.ADMIN
    hosts: frozenset[str] = frozenset()

    def role_of(self, presented: str) -> Role | None:
        """What a token opens, None if it is none of ours. All are compared, so that its haste tells nothing."""
        found: Role | None = None
        raw = presented.encode("utf-8", "surrogateescape")
        for token, role in self.tokens:
            if token.matches(raw):
                found = role if found is None else max(found, role)
        return None if found is None else min(found, self.role)


def is_our_host(host: str, policy: Policy) -> bool:
    """Whether a request's Host is a name of ours.

    A page that rebinds its own name to this machine sends that name; the number of an address cannot be rebound.
    """
    name = _hostname(host)
    return name is not None and (name in _LOCAL or name in policy.hosts or _is_address(name))


def is_our_form(headers: Mapping[str, str], scheme: str) -> bool:
    """Whether a form was sent by a page of ours, as far as the browser says."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    host = headers.get("host", "")
    # because TLS may end at a proxy in front of us
    return origin is None or origin in (f"{scheme}://{host}", f"https://{host}")


def _hostname(host: str) -> str | None:
    if not host or len(host) > HOST_CHARACTERS_MAX or not host.isascii() or any(one in host for one in "/@?#\\ "):
        return None
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname.rstrip(".") if parts.hostname else None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
