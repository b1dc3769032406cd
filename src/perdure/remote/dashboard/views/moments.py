"""Times as people read them: on the clock in UTC, and how long ago in two units."""

from __future__ import annotations

from perdure.clock import LATEST, SECOND, to_datetime

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def clock(at: int | None) -> str:
    """`2026-11-28 19:45:03`, in UTC; empty for None."""
    return "" if at is None else to_datetime(_bounded(at)).strftime("%Y-%m-%d %H:%M:%S")


def iso(at: int | None) -> str:
    """For machines."""
    return "" if at is None else to_datetime(_bounded(at)).isoformat()


def span(micros: int) -> str:
    """A duration in its two largest units: `35 ms`, `1.25 s`, `12 s`, `3m 05s`, `2h 10m`, `4d 03h`."""
    seconds = max(micros, 0) / SECOND
    if seconds < 1:
        return f"{seconds * 1_000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.2f} s"
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE:02}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE:02}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR:02}h"


def rounded(micros: int) -> str:
    """A round duration without its zeros: `2m`, `1h`."""
    return span(micros).replace(".00 s", " s").removesuffix(" 00s").removesuffix(" 00m").removesuffix(" 00h")


def ago(at: int | None, now: int) -> str:
    """How long ago, coarse, so that a table does not flicker: `now`, `40 s ago`, `5 min ago`; ahead: `in 5 min`."""
    if at is None:
        return ""
    seconds = abs(now - at) // SECOND
    if seconds < 5:
        return "now"
    for size, word in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= size:
            text = f"{seconds // size} {word}"
            break
    else:
        text = f"{seconds // 5 * 5} s"
    return f"{text} ago" if at <= now else f"in {text}"


def _bounded(at: int) -> int:
    return min(max(at, 0), LATEST)
