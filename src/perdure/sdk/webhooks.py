"""Where the lifecycle feed is told to, as a user says it."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import urlsplit

from perdure.codec.secret import Secret
from perdure.errors import InvalidArgument
from perdure.sdk.options import checked_count, checked_number

ATTEMPTS = 20
"""How often an event is tried, unless told otherwise: with the pauses between, a little more than an hour."""
TIMEOUT_SECONDS = 10.0
SECRET_BYTES_MIN = 16
"""Shorter secrets can be guessed."""
PREFIX = "whsec_"
"""How a secret begins that is base64."""


class Webhook:
    """A receiver of the lifecycle feed: each event is POSTed to `url` as CloudEvents 1.0 in JSON.

    With a `secret` requests are signed as Standard Webhooks describes it: HMAC-SHA256 over id, timestamp and body in
    the header `webhook-signature`. One that begins with "whsec_" is base64. An event that is not answered with 2xx
    within `timeout` seconds is tried again, up to `attempts` times. Raises InvalidArgument.
    """

    def __init__(
        self,
        url: str,
        secret: str | Secret[str] | None = None,
        *,
        attempts: int = ATTEMPTS,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidArgument(f"webhook {url[:80]!r} is no address; give one like https://example.com/events")
        if parts.username is not None or parts.password is not None:
            raise InvalidArgument("a webhook's address has no user or password in it; give a secret")
        self.url = url
        self.key = _key(secret)
        self.attempts = checked_count("attempts", attempts, 1)
        self.timeout = checked_number("timeout", timeout, 0.001)

    def __repr__(self) -> str:
        parts = urlsplit(self.url)
        return f"<Webhook {parts.scheme}://{parts.netloc}{parts.path}, {'signed' if self.key else 'not signed'}>"


def _key(secret: str | Secret[str] | None) -> bytes | None:
    if secret is None:
        return None
    text = secret if isinstance(secret, str) else secret.reveal()
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True) if text.startswith(PREFIX) else text.encode()
    except (binascii.Error, ValueError):
        raise InvalidArgument(f"a webhook's secret that begins with {PREFIX} goes on with base64") from None
    if len(key) < SECRET_BYTES_MIN:
        raise InvalidArgument(f"a webhook's secret has {SECRET_BYTES_MIN} bytes or more, so that nobody guesses it")
    return key
