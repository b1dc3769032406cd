"""Secrets in Dapr's own API."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from perdure.remote.wire.schema import RUNTIME_SCHEMA


class AskedSecret(msgspec.Struct, frozen=True):
    """A secret of a store; of all its secrets where `key` is ""."""

    store: str
    key: str = ""


def read_one(data: bytes) -> AskedSecret:
    """A GetSecretRequest. Raises MalformedMessage."""
    message = RUNTIME_SCHEMA.parse("GetSecretRequest", data)
    return AskedSecret(message.store_name, message.key)


def read_all(data: bytes) -> AskedSecret:
    """A GetBulkSecretRequest. Raises MalformedMessage."""
    return AskedSecret(RUNTIME_SCHEMA.parse("GetBulkSecretRequest", data).store_name)


def write_one(secret: Mapping[str, str]) -> bytes:
    """A GetSecretResponse."""
    return bytes(RUNTIME_SCHEMA.GetSecretResponse(data=secret).SerializeToString(deterministic=True))


def write_all(secrets: Mapping[str, Mapping[str, str]]) -> bytes:
    """A GetBulkSecretResponse."""
    message = RUNTIME_SCHEMA.GetBulkSecretResponse()
    for name, secret in secrets.items():
        message.data[name].secrets.update(secret)
    return bytes(message.SerializeToString(deterministic=True))
