"""How user data is written: values as payloads, and what payloads are packed in on their way to the store."""

from perdure.codec.blobs import Blobs, Directory, Objects
from perdure.codec.chain import Codec
from perdure.codec.examples import Example, example_of
from perdure.codec.keys import KeyRing, Keys
from perdure.codec.persons import PersonalKeys
from perdure.codec.secret import Secret
from perdure.codec.values import (
    ARGUMENTS,
    JSON,
    NOTHING,
    NULL,
    PAYLOAD_BYTES_MAX,
    PLAIN,
    TEXT,
    Confidential,
    Payload,
    Signature,
    Unreadable,
    Writer,
    decode,
    decode_json,
    encode,
    encode_arguments,
    is_packed,
    readable,
)

__all__ = [
    "ARGUMENTS",
    "JSON",
    "NOTHING",
    "NULL",
    "PAYLOAD_BYTES_MAX",
    "PLAIN",
    "TEXT",
    "Blobs",
    "Codec",
    "Confidential",
    "Directory",
    "Example",
    "KeyRing",
    "Keys",
    "Objects",
    "Payload",
    "PersonalKeys",
    "Secret",
    "Signature",
    "Unreadable",
    "Writer",
    "decode",
    "decode_json",
    "encode",
    "encode_arguments",
    "example_of",
    "is_packed",
    "readable",
]
