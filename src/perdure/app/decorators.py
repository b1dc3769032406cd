"""Types of the decorators of an app that are called with options first. Checkers read them; nobody makes one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from perdure.sdk.activity import Activity, StreamActivity
from perdure.sdk.generator import WorkflowContext
from perdure.sdk.transactions import Transaction
from perdure.sdk.workflow import Workflow

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class ActivityDecorator(Protocol):
    """Of `@app.activity(...)`."""

    @overload
    def __call__(self, function: Callable[P, AsyncIterator[T] | Iterator[T]], /) -> StreamActivity[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, Awaitable[R]], /) -> Activity[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Activity[P, R]: ...


class WorkflowDecorator(Protocol):
    """Of `@app.workflow(...)`."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[WorkflowContext, P], Generator[Any, Any, R]], /
    ) -> Workflow[P, R]: ...


class TransactionDecorator(Protocol):
    """Of `@app.transaction(...)`."""

    def __call__(self, function: Callable[Concatenate[Transaction, P], R], /) -> Activity[P, R]: ...


class SubscribeDecorator(Protocol):
    """Of `@app.subscribe(...)`: the function stays what it is."""

    def __call__(self, function: F, /) -> F: ...
