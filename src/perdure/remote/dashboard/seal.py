"""What the browser keeps for the dashboard, sealed so that only we can make it: who is there, and tokens of forms."""

from __future__ import annotations

import hmac
from hashlib import sha256

import msgspec

from perdure.sdk.role import Role

SESSION_SECONDS = 12 * 3_600
"""How long somebody stays logged in."""
COOKIE_CHARACTERS_MAX = 256
_PARTS = 4


class Session(msgspec.Struct, frozen=True):
    """One browser: a random id, what it may do at most, and until when (seconds since 1970)."""

    id: str
    role: Role
    until: int


class Seal:
    """Signs with a secret of this process: a restart ends all sessions."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def cookie(self, session: Session) -> str:
        """The session as text that cannot be made without the secret."""
        said = f"{session.id}.{session.role.value}.{session.until}"
        return f"{said}.{self._sign('session', said)}"

    def session(self, cookie: str, now: int) -> Session | None:
        """The session of a cookie; None if it is not ours, or over."""
        parts = cookie.split(".") if len(cookie) <= COOKIE_CHARACTERS_MAX and cookie.isascii() else []
        if len(parts) != _PARTS:
            return None
        id, role, until, signature = parts
        if not hmac.compare_digest(signature, self._sign("session", f"{id}.{role}.{until}")):
            return None
        session = Session(id, Role(int(role)), int(until))
        return session if session.until > now else None

    def form_token(self, session: Session) -> str:
        """What each form of this session carries, so that no other site can send one."""
        return self._sign("form", session.id)

    def is_form_token(self, session: Session, presented: str) -> bool:
        """Whether a form of this session was sent."""
        return presented.isascii() and hmac.compare_digest(presented, self.form_token(session))

    def _sign(self, purpose: str, said: str) -> str:
        return hmac.new(self._secret, f"{purpose}:{said}".encode(), sha256).hexdigest()

    def __repr__(self) -> str:
        return "Seal(***)"
