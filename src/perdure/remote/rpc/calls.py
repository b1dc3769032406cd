"""The forms that a call has, and what a module of calls adds to the table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import NamedTuple

from perdure.remote.rpc.caller import Caller

Unary = Callable[[bytes, Caller], Awaitable[bytes]]
Streaming = Callable[[bytes, Caller], AsyncIterator[bytes]]
Conversing = Callable[[AsyncIterator[bytes], Caller], AsyncIterator[bytes]]
"""Both sides go on. What the caller sends ends when it has no more to say; it may still listen."""


class Calls(NamedTuple):
    """Handlers by the name of the call within its service."""

    unary: Mapping[str, Unary] = {}
    streaming: Mapping[str, Streaming] = {}
    conversing: Mapping[str, Conversing] = {}
