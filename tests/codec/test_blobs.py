"""Where offloaded payloads lie: files, and what obstore reaches."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest
from obstore.store import LocalStore, MemoryStore

from perdure.codec import Directory, Objects
from perdure.codec.blobs import open_blobs
from perdure.errors import BlobMissing, BlobsUnavailable, InvalidArgument

NAME = f"20250101/{'0' * 64}"


@pytest.fixture(params=["directory", "memory", "local"])
def blobs(request, tmp_path):
    return {
        "directory": lambda: Directory(tmp_path),
        "memory": lambda: Objects(MemoryStore()),
        "local": lambda: Objects(LocalStore(tmp_path)),
    }[request.param]()


def test_written_read_listed_and_deleted(blobs):
    async def scenario():
        await blobs.write(NAME, b"first")
        await blobs.write(NAME, b"second")
        assert await blobs.read(NAME) == b"second"
        assert [name async for name in blobs.names()] == [NAME]
        await blobs.delete(NAME)
        await blobs.delete(NAME)
        with pytest.raises(BlobMissing, match="20250101"):
            await blobs.read(NAME)
        assert [name async for name in blobs.names()] == []

    asyncio.run(scenario())


def test_a_file_is_on_the_disk_before_its_name_is(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor):
        done.append(f"sync {os.path.basename(os.readlink(f'/proc/self/fd/{descriptor}'))}")
        fsync(descriptor)

    def named(part, name):
        done.append("name")
        replace(part, name)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr("pathlib.Path.replace", named)
    asyncio.run(Directory(tmp_path).write(NAME, b"x"))
    steps = [step.split(".")[0] if step.endswith(".part") else step for step in done]
    assert steps == [f"sync {tmp_path.name}", f"sync {'0' * 64}", "name", "sync 20250101"]


def test_what_a_crash_left_half_written_is_listed_to_be_swept(tmp_path):
    (tmp_path / "20250101").mkdir()
    (tmp_path / f"{NAME}.0a1b2c3d.part").write_bytes(b"half")

    async def scenario():
        return [name async for name in Directory(tmp_path).names()]

    assert asyncio.run(scenario()) == [f"{NAME}.0a1b2c3d.part"]


def test_a_place_that_cannot_be_used_says_so(tmp_path):
    blobs = Directory(tmp_path)
    (tmp_path / "20250101").touch()  # a file where a directory has to be
    with pytest.raises(BlobsUnavailable, match="20250101"):
        asyncio.run(blobs.write(NAME, b"x"))
    unreachable = Objects(
        "s3://bucket",
        endpoint="http://127.0.0.1:1",
        region="x",
        access_key_id="a",
        secret_access_key="b",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    for work in (unreachable.write(NAME, b"x"), unreachable.read(NAME), unreachable.delete(NAME)):
        with pytest.raises(BlobsUnavailable):
            asyncio.run(_awaited(work))


async def _awaited(work):
    return await work


def test_addresses_mean_directories_and_object_stores(tmp_path, monkeypatch):
    assert isinstance(open_blobs(tmp_path), Directory)
    assert isinstance(open_blobs("memory:///"), Objects)
    with pytest.raises(InvalidArgument, match="gopher"):
        open_blobs("gopher://bucket")
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(InvalidArgument, match=r"perdure\[objects\]"):
        open_blobs("s3://bucket")
