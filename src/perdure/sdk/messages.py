"""Typed names of what is sent to a running workflow: external events and updates."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from perdure.codec import Signature
from perdure.errors import InvalidArgument
from perdure.sdk.options import checked_name

T = TypeVar("T")
A = TypeVar("A")
R = TypeVar("R")


class ExternalEvent(Generic[T]):
    """An external event's name with the type of its data, for both who raises it and who waits.

    `approved = ExternalEvent("approved", bool)`, then `await wait_for_event(approved)` in the workflow and
    `await handle.raise_event(approved, True)` outside.
    """

    def __init__(self, name: str, data_type: type[T]) -> None:
        self.name = checked_name(name, "an event's name")
        self.data_type = data_type

    def __repr__(self) -> str:
        return f"<external event {self.name}>"


class Update(Generic[A, R]):
    """An update's name with the types of its data and of its answer, for both who asks and who answers.

    `change = Update("change-address", Address, Receipt)`, then `@on_update(change)` in the workflow and
    `receipt = await handle.update(change, address)` outside.
    """

    def __init__(self, name: str, data_type: type[A], answer_type: type[R]) -> None:
        self.name = checked_name(name, "an update's name")
        self.data_type = data_type
        self.answer_type = answer_type

    def __repr__(self) -> str:
        return f"<update {self.name}>"


def name_of(name: str | ExternalEvent[Any], what: str) -> str:
    """The name itself, checked."""
    return name.name if isinstance(name, ExternalEvent) else checked_name(name, what)


def checked_update(update: str | Update[Any, Any]) -> tuple[str, Any]:
    """The name of an update, checked, and the type of its answer."""
    if isinstance(update, Update):
        return update.name, update.answer_type
    return checked_name(update, "an update's name"), Any


def argument_type(function: Callable[..., Any]) -> Any:
    """The annotated type of a handler's only parameter, or Any."""
    if len(inspect.signature(function).parameters) != 1:
        raise InvalidArgument(
            f"{function.__qualname__} has to take one argument, the update's data, to be a handler of updates"
        )
    return Signature(function).argument
