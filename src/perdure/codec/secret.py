"""Values that nobody is to see by accident: in logs, tables and errors a secret is three asterisks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")
MARK = "perdure:secret"
"""The one key of the JSON object by which a stored secret is known where no type tells."""
ALLOWED = {MARK: True}
REFUSED = {MARK: False}
"""Contexts under which pydantic writes a secret's value, and under which it refuses. Else it writes asterisks."""
ADVICE = "secrets are stored encrypted; give the app and its clients codec=Codec(keys=...)"
_MASK = "***"


class Secret(Generic[T]):
    """A value, alone or as a field, that is shown as `***` and is stored encrypted or not at all.

    `reveal()` gives the value. A call that passes one raises NotEncodable if no keys are configured.
    """

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """The value itself: keep it out of logs and errors."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({_MASK})"

    def __str__(self) -> str:
        return _MASK

    def __format__(self, spec: str) -> str:
        return format(_MASK, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Callable[[Any], Any]) -> Any:
        """How pydantic reads and writes a field of this type; asked by pydantic alone."""
        from pydantic_core import core_schema  # because only pydantic asks, and then it is there

        kinds = getattr(source, "__args__", None) or (Any,)
        inside = handler.generate_schema(kinds[0])  # type: ignore[attr-defined]
        return core_schema.no_info_before_validator_function(
            _unmarked,
            core_schema.no_info_after_validator_function(cls, inside),
            serialization=core_schema.plain_serializer_function_ser_schema(_serialized, info_arg=True),
        )


def _unmarked(given: Any) -> Any:
    if isinstance(given, Secret):
        return given.reveal()
    return given[MARK] if isinstance(given, dict) and given.keys() == {MARK} else given


def _serialized(secret: Secret[Any], info: Any) -> Any:
    if info.mode != "json":
        return secret
    allowed = (info.context or {}).get(MARK)
    if allowed is False:
        raise ValueError(ADVICE)
    return {MARK: secret.reveal()} if allowed else _MASK
