"""To which path of a program an event goes: the first whose condition, in Google's CEL, is true of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from perdure.errors import InvalidArgument, UnknownConfiguration

log = logging.getLogger("perdure")
CONDITION_CHARACTERS_MAX = 4_096
_decode = msgspec.json.Decoder().decode


class Routes:
    """Pairs of a condition and a path, tried in their order; "" as a condition is always true.

    Raises InvalidArgument for one that is no CEL, UnknownConfiguration if the library for it is missing.
    """

    def __init__(self, rules: Sequence[tuple[str, str]]) -> None:
        self.rules = tuple(rules)
        self._compiled = [(_compiled(match) if match else None, path) for match, path in rules]

    def path_for(self, event: bytes) -> str | None:
        """Where the event goes, as JSON; None if nowhere."""
        seen: Mapping[str, Any] | None = None
        for condition, path in self._compiled:
            if condition is None:
                return path
            seen = seen or {"event": _decode(event)}
            if _holds(condition, seen):
                return path
        return None

    def __repr__(self) -> str:
        return f"<Routes {', '.join(path for _, path in self.rules)}>"


def _compiled(match: str) -> Any:
    if len(match) > CONDITION_CHARACTERS_MAX:
        raise InvalidArgument(f"a condition of {len(match):,} characters; write at most {CONDITION_CHARACTERS_MAX:,}")
    try:
        import cel  # because few subscriptions have conditions
    except ModuleNotFoundError as error:
        raise UnknownConfiguration("routes by `match` need a library: pip install 'perdure[cel]'") from error
    try:
        return cel.compile(match)
    except ValueError as error:
        raise InvalidArgument(f"`match: {match[:200]}` is no condition: {str(error).splitlines()[0]}") from None


def _holds(condition: Any, seen: Mapping[str, Any]) -> bool:
    """What cannot be told of an event, such as an attribute that it lacks, does not hold."""
    try:
        return condition.execute(seen) is True
    except Exception as error:  # noqa: BLE001 because the library raises many kinds, and the next route may be right
        log.debug("a condition could not be told of an event: %s", error)
        return False
