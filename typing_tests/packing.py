"""Codecs, keys and secrets, as checkers see them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import assert_type

from perdure import App, Client, Codec, KeyRing, PersonalKeys, Secret
from perdure.codec import Directory, Objects


@dataclass
class Login:
    user: str
    password: Secret[str]


class Vault:
    """Keys of one's own."""

    is_personal = False

    def choose(self, tags: Mapping[str, str] | None, beside: str | None) -> str:
        return "k1"

    def secret(self, id: str) -> bytes:
        return b""

    def fingerprint(self) -> str:
        return "1"


class Shelf:
    """Blobs of one's own."""

    async def write(self, name: str, data: bytes) -> None: ...

    async def read(self, name: str) -> bytes:
        return b""

    async def delete(self, name: str) -> None: ...

    async def names(self) -> AsyncIterator[str]:
        yield ""


ring = KeyRing({"k1": KeyRing.new_key(), "k2": b""}, current="k1")
Codec(compress=True, keys=ring, offload="blobs")
Codec(compress=10_000, keys=Vault(), offload=Shelf(), offload_above=1_000, context="shop")
Codec(keys=PersonalKeys(ring, Path("keys"), tag="customer"), offload=Directory("blobs"))
Codec(offload=Objects("s3://bucket", region="eu-north-1"))
app = App("shop", codec=Codec(keys=ring))

assert_type(Secret("x").reveal(), str)
assert_type(KeyRing.from_env(), KeyRing)
assert_type(PersonalKeys(ring, "keys").erase("ada"), int)


@app.workflow
async def audit(login: Login) -> Secret[int]:
    return Secret(len(login.password.reveal()))


async def drive() -> None:
    handle = await audit.start(Login("ada", Secret("x")))
    assert_type(await handle.result(), Secret[int])
    async with Client("memory:", codec=Codec(keys=ring)) as client:
        assert_type(await client.sweep(days=3), int)


Codec(keys="k1")  # type: ignore[arg-type]
Codec(offload=7)  # type: ignore[arg-type]
