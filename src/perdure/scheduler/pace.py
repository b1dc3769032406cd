"""How often an engine looks by itself: what polling finds when every hint is lost."""

from __future__ import annotations

import msgspec


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Pauses in seconds. Virtual time wants long ones, since it passes every pause at once."""

    mail_seconds: float = 1.0
    """Between looks for mail."""
    standby_seconds: float = 0.5
    """Between looks of a standby whether the shards are free."""
    window_seconds: float = 30.0
    """How far ahead of now due times are kept in memory; what is due later lies in the store."""


PACE = Pace()
