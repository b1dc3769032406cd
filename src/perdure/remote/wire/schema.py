"""The compiled messages: classes of their own, in a pool that no SDK of the same process shares."""

from __future__ import annotations

from importlib import resources
from typing import Any

from google.protobuf import (
    any_pb2,
    descriptor_pool,
    duration_pb2,
    json_format,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import DecodeError

from perdure.errors import MalformedMessage
from perdure.remote.requests import Flavour

MESSAGE_BYTES_MAX = 64 * 1024 * 1024
"""Bound of one message. Peers bound theirs at 4 to 128 MB; parsing a larger one would take this process's memory."""
_GOOGLE = (any_pb2, duration_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)
_COMPILED = "messages.binpb"


class Schema:
    """The messages of one proto package by their short names: `schema.HistoryEvent()`."""

    def __init__(self, package: str, flavour: Flavour) -> None:
        self.flavour = flavour
        self._package = package

    def __getattr__(self, name: str) -> Any:
        try:
            descriptor = _pool.FindMessageTypeByName(f"{self._package}.{name}")
        except KeyError:
            raise AttributeError(f"{self._package} has no message {name}") from None
        found = message_factory.GetMessageClass(descriptor)
        setattr(self, name, found)  # so that nobody asks here again
        return found

    def has(self, name: str) -> bool:
        """Whether the package has a message of this name."""
        return hasattr(self, name)

    def fields(self, name: str) -> dict[str, FieldDescriptor]:
        """The fields of a message by name."""
        descriptor: Descriptor = getattr(self, name).DESCRIPTOR
        return dict(descriptor.fields_by_name)

    def parse_json(self, name: str, text: str) -> Any:
        """The message in `text`, JSON as protobuf maps it; unknown fields are passed over. Raises MalformedMessage."""
        try:
            return json_format.Parse(text, getattr(self, name)(), ignore_unknown_fields=True, descriptor_pool=_pool)
        except (json_format.ParseError, RecursionError, UnicodeError) as error:
            raise MalformedMessage(f"{len(text):,} characters are no {name} in JSON: {error}") from None

    def write_json(self, name: str, data: bytes) -> str:
        """The message in `data` as such JSON, without what is empty."""
        message = getattr(self, name).FromString(data)
        return json_format.MessageToJson(message, indent=None, ensure_ascii=False, descriptor_pool=_pool)

    def parse(self, name: str, data: bytes) -> Any:
        """The message in `data`. Raises MalformedMessage if it is none, or too large."""
        if len(data) > MESSAGE_BYTES_MAX:
            raise MalformedMessage(f"a {name} of {len(data):,} bytes; send at most {MESSAGE_BYTES_MAX:,}")
        try:
            return getattr(self, name).FromString(data)
        except (DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedMessage(
                f"{len(data):,} bytes are no {name}: {error}; is the peer of another kind?"
            ) from None


def _load() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for module in _GOOGLE:
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    compiled = resources.files(__package__).joinpath(_COMPILED).read_bytes()
    for file in FileDescriptorSet.FromString(compiled).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


_pool = _load()

DAPR_SCHEMA = Schema("perdure.wire.dapr", Flavour.DAPR)
MICROSOFT_SCHEMA = Schema("perdure.wire.microsoft", Flavour.MICROSOFT)
RUNTIME_SCHEMA = Schema("perdure.wire.runtime", Flavour.DAPR)
SCALER_SCHEMA = Schema("perdure.wire.scaler", Flavour.PERDURE)
