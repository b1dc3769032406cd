"""What the operations about state do: a request is read, the state stores are asked, and the answer is written down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeVar

import msgspec
from msgspec import Raw
from starlette.requests import Request
from starlette.responses import Response

from perdure.remote.http import bodies, parameters
from perdure.remote.http.endpoints import Asked, Json
from perdure.remote.http.faults import MALFORMED, Refused
from perdure.remote.state import Write, metadata_of
from perdure.remote.wire.state import DELETE, kind_of
from perdure.stores.values.contract import Item

T = TypeVar("T")
FIRST_WRITE, LAST_WRITE = "first-write", "last-write"


class Options(msgspec.Struct, frozen=True):
    """How a value is written. Every store here is strongly consistent, so `consistency` is read over."""

    concurrency: Literal["", "first-write", "last-write"] | None = None
    consistency: Literal["", "eventual", "strong"] | None = None


class Given(msgspec.Struct, frozen=True):
    """A value as a caller sends it."""

    key: str
    value: Raw = Raw(b"null")
    etag: str | None = None
    metadata: Mapping[str, str] | None = None
    options: Options | None = None


class Step(msgspec.Struct, frozen=True):
    """An operation of a transaction."""

    operation: str
    request: Given


class Transaction(msgspec.Struct, frozen=True):
    operations: list[Step]
    metadata: Mapping[str, str] | None = None


class Bulk(msgspec.Struct, frozen=True):
    """Keys that are asked for; how many of them at once is the store's to decide."""

    keys: list[str]
    parallelism: float | None = None
    metadata: Mapping[str, str] | None = None


async def get(asked: Asked) -> Response:
    store, key = _store(asked.request), parameters.segment(asked.request, "stateKey")
    found = await asked.hub.state.get(asked.app, store, key)
    if found is None:
        return Response(status_code=204)
    told = {f"metadata.{name}": value for name, value in metadata_of(found).items()}
    return Response(found.value, headers={"content-type": Json.media_type, "etag": found.etag, **told})


async def save(asked: Asked) -> Response:
    store, values = _store(asked.request), await _body(asked.request, list[Given])
    await asked.hub.state.save(asked.app, store, [_write(one, bytes(one.value), {}) for one in values])
    return Response(status_code=204)


async def delete(asked: Asked) -> Response:
    store, key = _store(asked.request), parameters.segment(asked.request, "stateKey")
    etag = asked.request.headers.get("if-match", "").removeprefix("W/").strip('"')
    concurrency = asked.request.query_params.get("concurrency", "")
    if concurrency not in ("", FIRST_WRITE, LAST_WRITE):
        raise Refused(
            400, MALFORMED, f"concurrency {concurrency[:40]!r} is unknown; there are {FIRST_WRITE}, {LAST_WRITE}"
        )
    write = Write(key=key, etag=etag, last_write=concurrency == LAST_WRITE)
    await asked.hub.state.save(asked.app, store, [write])
    return Response(status_code=204)


async def get_bulk(asked: Asked) -> Response:
    store, wanted = _store(asked.request), await _body(asked.request, Bulk)
    found = await asked.hub.state.get_many(asked.app, store, wanted.keys)
    return Json([_shown(key, item) for key, item in zip(wanted.keys, found, strict=True)])


async def transact(asked: Asked) -> Response:
    store, transaction = _store(asked.request), await _body(asked.request, Transaction)
    usual = transaction.metadata or {}
    writes = [
        _write(one.request, None if kind_of(one.operation) == DELETE else bytes(one.request.value), usual)
        for one in transaction.operations
    ]
    await asked.hub.state.transact(asked.app, store, writes)
    return Response(status_code=204)


def _store(request: Request) -> str:
    return parameters.segment(request, "storeName")


def _write(given: Given, value: bytes | None, usual: Mapping[str, str]) -> Write:
    concurrency = given.options.concurrency if given.options is not None else None
    return Write(
        key=given.key,
        value=value,
        etag=given.etag or "",
        first_write=concurrency == FIRST_WRITE,
        last_write=concurrency == LAST_WRITE,
        metadata={**usual, **(given.metadata or {})},
    )


def _shown(key: str, item: Item | None) -> dict[str, object]:
    if item is None:
        return {"key": key}
    return {"key": key, "data": _data(item.value), "etag": item.etag, "metadata": metadata_of(item)}


def _data(value: bytes) -> object:
    """JSON as it is, and other text as a text; what is neither is shown as far as it can be."""
    try:
        msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return value.decode(errors="replace")
    return Raw(value)


async def _body(request: Request, kind: type[T]) -> T:
    body = await bodies.read(request)
    bodies.text_of(body)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refused(400, MALFORMED, f"the body is not as this call wants it: {error}") from None
