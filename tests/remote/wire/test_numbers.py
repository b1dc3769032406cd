"""The messages of Dapr's own API have the numbers, types and labels that its programs send.

golden/runtime.tsv has a line for each field: the message, the number, the name, the type, the label, the oneof; for a
value of an enum the enum, the number and the name.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from perdure.remote.wire.schema import RUNTIME_SCHEMA

PACKAGE = "perdure.wire.runtime."
TABLE = Path(__file__).parent / "golden" / "runtime.tsv"
SCALARS = {
    getattr(FieldDescriptor, f"TYPE_{name.upper()}"): name
    for name in ("string", "bytes", "bool", "int32", "int64", "uint32", "uint64", "double")
}


def lines() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


FIELDS = [line for line in lines() if line["type"] != "enum"]
VALUES = [line for line in lines() if line["type"] == "enum"]
MESSAGES = sorted({line["message"] for line in FIELDS})


def type_of(field: FieldDescriptor) -> str:
    if is_map(field):
        entry = field.message_type.fields_by_name
        return f"map<{type_of(entry['key'])},{type_of(entry['value'])}>"
    named = field.message_type or field.enum_type
    return SCALARS[field.type] if named is None else named.full_name.removeprefix(PACKAGE)


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def label_of(field: FieldDescriptor) -> str:
    if field.is_repeated and not is_map(field):
        return "repeated"
    chosen = field.containing_oneof
    return "optional" if chosen is not None and chosen.name == f"_{field.name}" else ""


def oneof_of(field: FieldDescriptor) -> str:
    chosen = field.containing_oneof
    return "" if chosen is None or chosen.name == f"_{field.name}" else chosen.name


def descriptor(message: str) -> Descriptor:
    found: Any = getattr(RUNTIME_SCHEMA, message)
    return found.DESCRIPTOR


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_has_the_fields_of_the_table(message: str):
    told = {
        (int(line["number"]), line["field"], line["type"], line["label"], line["oneof"])
        for line in FIELDS
        if line["message"] == message
    }
    ours = descriptor(message).fields
    assert {(f.number, f.name, type_of(f), label_of(f), oneof_of(f)) for f in ours} == told


def test_an_enum_has_the_values_of_the_table():
    for line in VALUES:
        place, _, name = line["message"].rpartition(".")
        enum: EnumDescriptor = descriptor(place).enum_types_by_name[name] if place else FILE.enum_types_by_name[name]
        assert enum.values_by_name[line["field"]].number == int(line["number"]), line


def test_the_table_names_every_message_that_has_fields():
    """Because a message that is missing there is checked by nothing."""
    pool = descriptor("StateItem").file.pool
    files = [pool.FindFileByName(name) for name in NAMES]
    ours = {name for file in files for name, found in file.message_types_by_name.items() if found.fields}
    assert ours == set(MESSAGES)


NAMES = tuple(
    f"{name}.proto" for name in ("actors", "configuration", "conversation", "pubsub", "runtime", "secrets", "state")
)
FILE = descriptor("StateItem").file
