"""What an agent's output is when it comes back from the store: the type behind pydantic-ai's ways to ask for it."""

from __future__ import annotations

import inspect
import types
import typing
from collections import Counter
from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_ai.output import NativeOutput, PromptedOutput, TextOutput, ToolOutput

from perdure.agents.delegation import Handoff
from perdure.agents.values import loaded, stored
from perdure.errors import NotDecodable


class Outputs:
    """Writes and reads the outputs of an agent whose `output_type` is `spec`; handoffs are none of its own.

    Of several types, what is stored of one may fit another. So an answer has a label that tells which it was: of the
    agent's own types one is chosen by it, and none is looked for.
    """

    def __init__(self, spec: Any) -> None:
        kinds = [kind for kind in _types(spec) if not _is_handoff(kind)]
        self._any: TypeAdapter[Any] = TypeAdapter(Any if not kinds or Any in kinds else reduce(or_, kinds))
        self._labelled = _labelled(kinds)

    def store(self, output: Any) -> tuple[Any, str]:
        """The output in JSON types, and its label; "" where there is none. Raises NotEncodable."""
        label = type(output).__name__
        kind = self._labelled.get(label)
        if kind is None or type(output) is not kind:
            return stored(self._any, output), ""
        return stored(TypeAdapter(kind), output), label

    def read(self, output: Any, label: str) -> Any:
        """The output of what is stored. Raises NotDecodable if the agent's types have become others."""
        kind = self._labelled.get(label)
        try:
            return loaded(self._any if kind is None else TypeAdapter(kind), output)
        except ValidationError as error:
            raise NotDecodable(
                f"the output that is stored does not fit the agent's output_type, which may have changed: {error}; "
                "`answer()` has it as it is stored"
            ) from error


def _labelled(kinds: Sequence[Any]) -> dict[str, type[Any]]:
    """The classes among several types, by name, if only one has it."""
    classes = [kind for kind in kinds if inspect.isclass(kind)] if len(kinds) > 1 else []
    counts = Counter(kind.__name__ for kind in classes)
    return {kind.__name__: kind for kind in classes if counts[kind.__name__] == 1}


def _types(spec: Any) -> list[Any]:
    if isinstance(spec, ToolOutput):
        return _types(spec.output)
    if isinstance(spec, (NativeOutput, PromptedOutput)):
        return _types(spec.outputs)
    if isinstance(spec, TextOutput):
        return _types(spec.output_function)
    if isinstance(spec, Sequence) and not isinstance(spec, str):
        return [kind for each in spec for kind in _types(each)]
    if inspect.isfunction(spec) or inspect.ismethod(spec):
        return [typing.get_type_hints(spec).get("return", Any)]
    return [*typing.get_args(spec)] if _is_union(spec) else [spec]


def _is_union(spec: Any) -> bool:
    return typing.get_origin(spec) in (typing.Union, types.UnionType)


def _is_handoff(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, Handoff)
