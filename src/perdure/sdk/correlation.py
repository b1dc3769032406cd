"""Which instance an event is about: a function of the event, or a path into it that can stand in a file."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from perdure.errors import InvalidArgument
from perdure.history.entities import is_entity
from perdure.sdk.cloud_event import CloudEvent
from perdure.sdk.options import checked_id

Correlation = Callable[[CloudEvent], str]
FIELDS = ("id", "topic", "source", "type", "key", "data", "extensions")
"""With which of an event's fields a path may begin."""
_STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_-]*)|\[(\d+)\]|\['([^']*)'\]")


def correlation(asked: Correlation | str) -> Correlation:
    """What tells the id of an instance from an event. A text is a path, such as "data.order.id" or "data.items[0]";
    with braces it is a text that holds paths, such as "order-{data.id}". Raises InvalidArgument for what is neither."""
    if isinstance(asked, str):
        return _template(asked) if "{" in asked else _path(asked)
    if not callable(asked):
        raise InvalidArgument(f"{asked!r} tells no id; give a function of the event, or a path such as 'data.order'")
    return asked


def id_of(tell: Correlation, event: CloudEvent) -> str:
    """The id for an event. Raises InvalidArgument for what cannot be one, and whatever the function raises."""
    id: object = tell(event)
    if isinstance(id, int) and not isinstance(id, bool):
        id = str(id)
    found = checked_id(id)  # type: ignore[arg-type]  # which it checks
    if is_entity(found):
        raise InvalidArgument(f"id {found[:200]!r} is an entity's or a topic's; an instance has none with @ in front")
    return found


def _template(text: str) -> Correlation:
    parts = re.split(r"\{([^{}]*)\}", text)
    if "{" in "".join(parts[::2]) or "}" in "".join(parts[::2]):
        raise InvalidArgument(f"{text!r} has a brace without its partner; write a path between {'{'} and {'}'}")
    paths = [_path(path) for path in parts[1::2]]

    def tell(event: CloudEvent) -> str:
        found = [str(path(event)) for path in paths]
        return "".join(map("".join, zip(parts[::2], [*found, ""], strict=True)))

    return tell


def _path(text: str) -> Correlation:
    field = re.match(r"[A-Za-z]+", text)
    if field is None or field[0] not in FIELDS:
        raise InvalidArgument(f"{text!r} is no path into an event; begin it with one of {', '.join(FIELDS)}")
    steps: list[str | int] = []
    place = field.end()
    while place < len(text):
        step = _STEP.match(text, place)
        if step is None:
            raise InvalidArgument(f"{text!r} is no path: {text[place:]!r} is neither .name, [0] nor ['a name']")
        name, index, quoted = step.groups()
        steps.append(int(index) if index is not None else name or quoted)
        place = step.end()

    def tell(event: CloudEvent) -> Any:
        found: Any = getattr(event, field[0])
        for step in steps:
            try:
                found = found[step]
            except (KeyError, IndexError, TypeError):
                raise InvalidArgument(f"event {event.id!r} of {event.topic!r} has nothing at {text!r}") from None
        return found

    return tell
