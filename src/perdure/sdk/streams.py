"""What activities yield: handed over item by item where they run, read item by item from a handle."""

from __future__ import annotations

import asyncio
import typing
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

import msgspec

from perdure.codec import Payload, Writer, decode
from perdure.errors import ApplicationError, StreamError
from perdure.history.streams import Selection
from perdure.history.work import Outlet
from perdure.stores.contract import Item, Stream

if TYPE_CHECKING:
    from perdure.sdk.gateway import Gateway

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
STREAM_PAGE = 100
"""Items that one look of a reader brings."""
_END = object()


class Source(Protocol[T_co]):
    """What names a stream and says what its items are: an activity that yields."""

    @property
    def name(self) -> str: ...
    @property
    def item_type(self) -> type[T_co]: ...


class StreamState(msgspec.Struct, frozen=True, kw_only=True):
    """One stream: which run and call, of which activity, how many items; `is_open`: there may be more."""

    run: int
    call: int
    name: str
    items: int
    is_open: bool


def shown_stream(stream: Stream) -> StreamState:
    return StreamState(
        run=stream.generation, call=stream.number, name=stream.name, items=stream.length, is_open=stream.is_open
    )


class StreamReader(Generic[T]):
    """The items of one stream, in order, each when it is durable. `offset` is that of the item it gave last.

    `run` and `call` say which stream it is, None until it has begun. With these and the offset another reader goes on.
    """

    def __init__(
        self,
        gateway: Callable[[], Gateway],
        id: str,
        execution: str | None,
        selection: Selection,
        after: int,
        follow: bool,
        item_type: Any,
    ) -> None:
        self.offset = after
        self._gateway = gateway
        self._id = id
        self._execution = execution
        self._selection = selection
        self._follow = follow
        self._type = item_type
        self._items: deque[Item] = deque()
        self._ended = False
        self._begun = False

    @property
    def run(self) -> int | None:
        return self._selection.run if self._begun else None

    @property
    def call(self) -> int | None:
        return self._selection.number if self._begun else None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._items:
            if self._ended:
                raise StopAsyncIteration
            await self._fetch()
        item = self._items.popleft()
        self.offset = item.offset
        value: T = decode(item.value, self._type)
        return value

    async def _fetch(self) -> None:
        page = await self._gateway().items(
            self._id, self._execution, self._selection, self.offset, STREAM_PAGE, self._follow
        )
        if page.run is not None:
            self._begun = True
            self._selection = msgspec.structs.replace(self._selection, run=page.run, number=page.number)
        self._execution = page.execution
        self._items.extend(page.items)
        self._ended = page.ended or (not self._follow and not page.items)

    def __repr__(self) -> str:
        return f"<StreamReader of {self._id}, {self._selection} after {self.offset}>"


def item_type(function: Callable[..., Any]) -> Any:
    """What a generator function is annotated to yield, or Any."""
    try:
        returned = typing.get_type_hints(function, include_extras=True).get("return", Any)
    except (NameError, TypeError, AttributeError):
        return Any  # because a name may exist for type checkers alone
    return next(iter(typing.get_args(returned)), Any)


async def hand_over(
    items: AsyncGenerator[Any], outlet: Outlet, beat: Callable[[Payload | None], None], writer: Writer
) -> int:
    """Put into the outlet what is yielded, each item a sign of life; how many the stream then has, all durable."""
    try:
        async with aclosing(items) as yielded:
            async for item in yielded:
                beat(None)
                await outlet.put(writer.encode(item))
        return await outlet.flush()
    except Exception:
        with suppress(StreamError):  # because the first error counts
            await outlet.flush()  # what was yielded before it is the next attempt's to go on from
        raise
    finally:
        outlet.close()


async def beside(call: Awaitable[T], outlet: Outlet) -> T:
    """What the call returns, once all is durable that it has put into the outlet meanwhile."""
    try:
        value = await call
        await outlet.flush()
        return value
    except Exception:
        with suppress(StreamError):  # because the first error counts
            await outlet.flush()  # what was put before it stays readable
        raise
    finally:
        outlet.close()


async def in_thread(function: Callable[..., Generator[Any, Any, Any]], args: Any, kwargs: Any) -> AsyncGenerator[Any]:
    """The items of a `def` generator, in one thread from first to last, because cursors are bound to theirs."""
    context, loop = copy_context(), asyncio.get_running_loop()
    items = function(*args, **kwargs)

    def step() -> Any:
        return portable(next, items, _END)

    thread = ThreadPoolExecutor(1, thread_name_prefix="perdure-stream")
    try:
        while (item := await loop.run_in_executor(thread, context.run, step)) is not _END:
            yield item
    finally:
        loop.run_in_executor(thread, context.run, items.close)  # not awaited, because it may be in a long step
        thread.shutdown(wait=False)


def portable(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """What the function returns or raises in its thread, in a form that a future can carry to whoever awaits it."""
    try:
        return function(*args, **kwargs)
    except (StopIteration, GeneratorExit) as error:  # because who awaits would hear of neither, and wait for ever
        raise RuntimeError(f"{error!r} was raised; next() without a default is the usual cause") from error
    except (SystemExit, KeyboardInterrupt) as error:  # because a thread's end is not the process's, nor was it asked to
        raise ApplicationError(str(error), type=type(error).__name__) from error
