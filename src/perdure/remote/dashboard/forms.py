"""What a browser sends with a form: pairs of text, bounded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from perdure.errors import InvalidArgument

BODY_BYTES_MAX = 1024 * 1024
"""Length of a form; larger values are sent from the command line."""
FIELDS_MAX = 50


async def form_of(request: Request) -> Mapping[str, str]:
    """The fields of a form. Raises InvalidArgument."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise InvalidArgument("this is no form of the dashboard")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise InvalidArgument(f"the form has more than {BODY_BYTES_MAX:,} bytes; send it from the command line")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError as error:
        raise InvalidArgument(f"the form cannot be read: {error}") from None
    return dict(pairs)


def json_of(text: str, what: str) -> Any:
    """The value of a JSON text, None of an empty one. Raises InvalidArgument."""
    if not text.strip():
        return None
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f'{what} is not JSON: {error}. Text needs quotes of its own: "text"') from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"JSON has no {name}")
