"""Worlds whose payloads are encrypted and offloaded: under all faults no turn refers to a blob that is not there."""

from __future__ import annotations

import asyncio
import dataclasses
import random

import msgspec
import pytest

from perdure.codec import Codec, KeyRing, is_packed
from perdure.codec.chain import reference
from perdure.errors import BlobMissing
from perdure.history.events import InstanceEnded, RunResumed, RunSuspended, decode_segment
from perdure.sdk.packing.fields import parts
from perdure.testing.backends import every_head, immediately
from perdure.testing.faults import Swarm
from perdure.testing.inspection import _compare_instances, _inspect_instance
from perdure.testing.scenario import APP
from perdure.testing.simulate import scenario
from perdure.testing.tape import Tape
from perdure.testing.world import World

SEEDS = 40
ABOVE = 30
"""So small that almost every payload is a blob."""
RING = KeyRing({"k1": KeyRing.new_key()})


class SimBlobs:
    """Blobs in memory that take their time; what a node that dies was writing is not there."""

    def __init__(self, chance: random.Random) -> None:
        self.held: dict[str, bytes] = {}
        self._chance = chance

    async def write(self, name, data):
        await self._pause()
        self.held[name] = data

    async def read(self, name):
        await self._pause()
        if name not in self.held:
            raise BlobMissing(name)
        return self.held[name]

    async def delete(self, name):
        self.held.pop(name, None)

    async def names(self):
        for name in list(self.held):
            yield name

    async def _pause(self):
        await asyncio.sleep(self._chance.choice((0.0, 0.001, 0.05)))


def simulated(seed: int):
    """The report of a world with a codec, its blobs, and how many references were looked at."""
    tape = Tape(seed)
    blobs = SimBlobs(tape.stream("blobs"))
    codec = Codec(keys=RING, offload=blobs, offload_above=ABOVE)
    looked = []

    def inspect(world, store):
        heads = every_head(store)
        _compare_instances(world, heads)
        (shard,) = immediately(store.shards(APP))
        for head in heads:
            (loaded,) = immediately(store.load(shard, [head.id]))
            _inspect_instance(world, loaded)
            for segment in loaded.segments:
                for event in decode_segment(segment.events):
                    looked.extend(_judged(world, blobs, event))

    world = World(tape, dataclasses.replace(scenario(tape, blocks_share=0.0), codec=codec), Swarm(tape))
    return world.run(inspect), blobs, len(looked)


def _is_the_engines(payload):
    """Word of how an instance ended, to whoever watches it: the engine writes it, and nothing of a user is in it."""
    try:
        msgspec.json.decode(payload.data, type=InstanceEnded)
    except msgspec.DecodeError:
        return False
    return True


def _judged(world, blobs, event):
    for payload in parts(event):
        payload = getattr(payload, "packed", payload)
        if payload is None or isinstance(event, RunSuspended | RunResumed):
            continue
        if not is_packed(payload):
            if bytes(payload.data) != b"null" and not _is_the_engines(payload):
                world.witness.accuse(f"{event} is stored plain")
        elif payload.encoding.endswith("+blob"):
            yield payload
            if reference(payload) not in blobs.held:
                world.witness.accuse(f"{type(event).__name__} refers to a blob that is not there")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seeds", [range(4), pytest.param(range(4, SEEDS), marks=pytest.mark.long)], ids=len)
def test_every_seed_keeps_the_laws_with_packed_payloads(seeds):
    references = 0
    for seed in seeds:
        report, _, looked = simulated(seed)
        assert not report.violations, (seed, report.violations[:3])
        references += looked
    assert references > len(seeds)


def test_a_codec_that_does_not_wait_for_its_blobs_is_caught(monkeypatch):
    async def hasty(self, payload, key, *, offloads=True):
        packed, blob = self.pack(payload, key, offloads=offloads)
        if blob is not None:
            asyncio.get_running_loop().create_task(self.blobs.write(blob.name, blob.data))
        return packed

    monkeypatch.setattr(Codec, "packed", hasty)
    assert any(simulated(seed)[0].violations for seed in range(SEEDS))
