"""What the words of Dapr's settings mean: yes and no, and durations. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

NAMESPACE = "NAMESPACE"
"""The variable in which a program finds its namespace."""
_YES = frozenset(("y", "yes", "true", "t", "on", "1"))
_NO = frozenset(("n", "no", "false", "f", "off", "0", ""))


def flag_of(text: str) -> bool:
    """Whether a text says yes, in any of the words that Dapr takes. Raises ValueError."""
    if text.lower() in _YES:
        return True
    if text.lower() in _NO:
        return False
    raise ValueError(f"{text!r}; write true or false")


_UNITS: Mapping[str, float] = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3_600}
_PART = re.compile(r"(\d{1,12}(?:\.\d{0,9})?)(ns|us|µs|ms|s|m|h)")


def seconds_of(text: str) -> float:
    """The seconds of a duration as Go writes it, such as 1h30m or 500ms; of a bare number too. Raises ValueError."""
    if re.fullmatch(r"\d{1,12}(\.\d{1,9})?", text, re.ASCII):
        return float(text)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r}; write a duration such as 20s, 5m or 1h30m")
    return float(sum(float(number) * _UNITS[unit] for number, unit in parts))
