"""Who may speak to the dashboard: which names it is reached by, where forms come from, what a browser may load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


def is_our_form(headers: Mapping[str, str], scheme: str) -> bool:
    """Whether a form was sent by a page of ours, as far as the browser says."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    host = headers.get("host", "")
    # because TLS may end at a proxy in front of us
    return origin is None or origin in (f"{scheme}://{host}", f"https://{host}")
