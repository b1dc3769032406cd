"""The messages that the published SDKs have made (see golden/make.py), and the codecs that must make the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from perdure.codec import Payload
from perdure.remote.requests import Flavour
from perdure.remote.wire.codec import codec_of
from perdure.remote.wire.payloads import text_of
from perdure.remote.wire.schema import DAPR_SCHEMA, MICROSOFT_SCHEMA

PLACE = Path(__file__).parent / "golden"
FLAVOURS = (Flavour.DAPR, Flavour.MICROSOFT)
SCHEMAS = {Flavour.DAPR: DAPR_SCHEMA, Flavour.MICROSOFT: MICROSOFT_SCHEMA}
CODECS = {flavour: codec_of(flavour) for flavour in FLAVOURS}
GOLDEN: dict[Flavour, dict[str, dict[str, str]]] = {
    flavour: json.loads((PLACE / f"{flavour}.json").read_text()) for flavour in FLAVOURS
}
EMPTY = "empty"


def golden(flavour: Flavour, message: str, case: str = "filled") -> bytes:
    """One message as the SDK has made it."""
    return bytes.fromhex(GOLDEN[flavour][message][case])


def cases(message: dict[Flavour, str] | str) -> list[tuple[Flavour, str, bytes]]:
    """(flavour, case, bytes) of every filled message of a kind that a flavour has."""
    found = []
    for flavour in FLAVOURS:
        name = message if isinstance(message, str) else message[flavour]
        for case, data in GOLDEN[flavour].get(name, {}).items():
            if not case.endswith(EMPTY):
                found.append((flavour, case, bytes.fromhex(data)))
    return found


def at(record: Any, path: str) -> Any:
    """What a record holds at a dotted path; a payload as its text."""
    for step in path.split("."):
        record = getattr(record, step)
    return text_of(record).decode() if isinstance(record, Payload) else record


def arrived(record: Any, wire: str, path: str) -> bool:
    """Whether the wire's field has arrived at a path: its text is its own name; anything else just has to be there."""
    found = [at(record, one) for one in path.split("+")]
    if isinstance(found[0], str) and found[0].startswith(wire.split(".", maxsplit=1)[0]):
        return found[0] in {wire, f"{wire}.value"}
    if isinstance(found[0], dict):
        return found[0].get(f"{wire}.key") == f"{wire}.value" or found[0].get("text") == wire
    return all(one not in (None, "", 0, False) for one in found)
