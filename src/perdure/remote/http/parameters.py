"""What a request says in its path and query: names and ids, decoded and checked."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from starlette.requests import Request

from perdure.errors import InstanceNotFound, InvalidArgument
from perdure.history.entities import is_entity
from perdure.remote.http.faults import MALFORMED, Refused
from perdure.sdk.options import checked_id, checked_name

NEW_ID_BYTES_MAX = 64
"""Bound of an instance id that is given to a start over HTTP, as a sidecar has it."""
ID_INVALID = "ERR_INSTANCE_ID_INVALID"
ID_TOO_LONG = "ERR_INSTANCE_ID_TOO_LONG"


def name_in(request: Request, place: str, what: str) -> str:
    """A name in the path. Raises Refused, InvalidArgument."""
    return checked_name(segment(request, place), what)


def name_asked(request: Request, name: str, what: str) -> str | None:
    """A name in the query, None if it has none. Raises InvalidArgument."""
    found = request.query_params.get(name)
    return None if found is None else checked_name(found, what)


def instance_in(request: Request) -> str:
    """The id of an existing instance, whoever began it. Raises Refused, InstanceNotFound."""
    try:
        id = checked_id(segment(request, "instanceID"))
    except InvalidArgument as error:
        raise Refused(400, ID_INVALID, str(error)) from None
    if is_entity(id):
        raise InstanceNotFound(f"{id[:200]!r} is an entity, and these calls are about workflows", id)
    return id


def new_instance_in(request: Request) -> str | None:
    """The id for a new instance: letters, digits, `_` and `-`; None if one is to be made. Raises Refused."""
    id = request.query_params.get("instanceID", "")
    if len(id.encode()) > NEW_ID_BYTES_MAX:
        raise Refused(400, ID_TOO_LONG, f"an instance id has at most {NEW_ID_BYTES_MAX} bytes here; shorten it")
    if not all(character.isalpha() or character.isdecimal() or character in "_-" for character in id):
        raise Refused(400, ID_INVALID, f"instance id {id!r} has other characters than letters, digits, _ and -")
    return id or None


def count_in(request: Request, name: str, usual: int) -> int:
    """A number from 1 on in the query, at most the usual one, which it is where the query has none. Raises Refused."""
    text = request.query_params.get(name)
    if text is None:
        return usual
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(usual)) and 1 <= int(text) <= usual):
        raise Refused(400, MALFORMED, f"{name} {text[:40]!r} is no number from 1 to {usual:,}")
    return int(text)


def segment(request: Request, place: str) -> str:
    """A part of the path, in which anything may be escaped, a slash too."""
    try:
        return unquote_to_bytes(request.path_params[place]).decode()
    except UnicodeDecodeError:
        raise Refused(400, MALFORMED, f"{place} in the path is not UTF-8; escape the bytes of UTF-8") from None
