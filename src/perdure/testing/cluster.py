"""A world of several nodes that divide the shards of one store: leases run out, and ways to the store are cut."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from perdure.actors.pulse import BEATS_PER_LEASE
from perdure.clock import SECOND
from perdure.codec import encode_arguments
from perdure.errors import Fenced, InstanceExists, StoreUnavailable
from perdure.history.slots import is_door
from perdure.history.work import StartOptions
from perdure.stores.contract import Creation, EngineStore, Lease, shard_number
from perdure.stores.memory import MemoryStore
from perdure.testing.backends import every_head, immediately
from perdure.testing.cables import Cables, Way
from perdure.testing.faults import Weather
from perdure.testing.loop import START, SimLoop
from perdure.testing.nodes import Node, NodeDied
from perdure.testing.outbox import OutboxStore
from perdure.testing.programs import Effect, How, Program
from perdure.testing.scenario import APP, Scenario
from perdure.testing.tape import Tape
from perdure.testing.witness import Witness
from perdure.testing.world import World

NODES_MAX = 5
NODES_MIN = 2
HARMS = (
    "crash",
    "leave",
    "join",
    "freeze",
    "cut",
    "mute",
    "slow",
    "flap",
    "no beats",
    "store restarts",
    "store fails over",
)
"""What happens to nodes, to their way to the store, and to the store."""
CUTS = {
    "cut": Way.CUT,
    "mute": Way.MUTE,
    "slow": Way.SLOW,
    "flap": Way.FLAPPING,
    "no beats": Way.NO_BEATS,
    "store restarts": Way.CUT,
    "store fails over": Way.FLAPPING,
}
LEASES_LOST = (0.5, 1.5, 3.0)
"""How long a cut or a freeze lasts, in leases."""
SPLITS = ("no beats", "no beats", "freeze", "cut", "mute")
"""How two nodes come to believe that they own a shard. While beats alone are lost, the first one goes on writing."""
SPLIT_AT = (0.3, 1.0, 3.0)
SPLIT_TRIES = 2
"""Tries before other faults pause until it has happened."""
SPLIT_BY = 10.0
"""Likewise in virtual time."""
SPLIT_LEASES = 4.0
"""For how many leases one try of a split lasts."""
RUSH_COUNT = 20
"""Instances that are started at a node while its way is slow, and shortly after."""
SHARED_SECONDS = 60.0
"""Virtual time within which shards are divided fairly once everything is well."""
FORWARD_SECONDS = (0.0, 0.01, 0.3)
"""Between two rounds of the outbox's forwarder."""
FORWARDER_DEATHS = (0.0, 0.1, 0.5)
"""Shares of its rounds at which it dies between delivery and deletion."""


@dataclass(frozen=True)
class Layout:
    """The store of a cluster. `skew` is how far its clock is off, in microseconds."""

    shards: int
    lease_seconds: float
    spans_shards: bool = True
    skew: int = 0


class ClusterBackend:
    """One store in memory for all nodes. What a dead node held runs out, and does not fall free."""

    def __init__(self, layout: Layout, loop: SimLoop, told: Callable[[Creation], None]) -> None:
        def now() -> int:
            return START + layout.skew + round(loop.time() * 1_000_000)

        self.now = now
        self.store: MemoryStore
        self.outbox: OutboxStore | None = None
        if layout.spans_shards:
            self.store = MemoryStore(layout.shards, layout.lease_seconds, now)
        else:
            self.store = self.outbox = OutboxStore(layout.shards, layout.lease_seconds, now, told)
        self.expired: Callable[[list[int]], None] = lambda shards: None

    def connect(self) -> EngineStore:
        return self.store

    def look(self) -> EngineStore:
        return self.store

    def release(self, store: EngineStore, owner: str) -> None:
        """Nobody notices before the leases have run out."""

    def take_from_owner(self, store: EngineStore, owner: str) -> None:
        """Let others have the node's shards while it still believes in its leases."""
        self.expired(self.store.expire(APP, owner))

    def rows_left(self) -> list[str]:
        self._purge_doors()
        left = [f"instance {head.id}" for head in every_head(self.store)]
        waiting = self.outbox.waiting if self.outbox is not None else 0
        return [*left, *([f"{waiting} parcels"] if waiting else [])]

    def _purge_doors(self) -> None:
        """Those that give no slot any more are nobody's to purge but the store's."""
        shards = immediately(self.store.shards(APP))
        for head in every_head(self.store):
            if is_door(head.id):
                immediately(self.store.purge(shards[shard_number(head.id, len(shards))], [head.id]))

    def close(self) -> None:
        """Nothing of it outlives the object."""


class ClusterWorld(World):
    """Nodes that divide the shards of an app, and lose them."""

    restart_seconds = 0.05

    def __init__(self, tape: Tape, scenario: Scenario, plan: Weather, layout: Layout, *, traced: bool = False) -> None:
        self.layout = layout
        self._tape_of_harm = tape.stream("harm")
        self.splits = 0
        self._rushed = 0
        self._weather = plan
        self._count = scenario.nodes
        super().__init__(tape, scenario, plan, traced=traced)
        self._forwarding = tape.stream("outbox")

    # -- what it is made of -------------------------------------------------------------------------------------

    def _new_backend(self) -> ClusterBackend:
        self.cluster = ClusterBackend(self.layout, self.loop, self._created)
        return self.cluster

    def _created(self, creation: Creation) -> None:
        self.witness.created(creation)  # which is made after the store

    def _new_witness(self) -> Witness:
        outbox = self.cluster.outbox
        witness = Witness(self.cluster.now, outbox.is_sent) if outbox is not None else Witness(self.cluster.now)
        witness.skew_max = max(witness.skew_max, 2 * self.scenario.skew)
        witness.hears = self._epoch_begins
        self.cluster.expired = witness.expired
        return witness

    def _new_cables(self) -> Cables:
        self._ways = Cables(self.tape, self.witness.probes)
        return self._ways

    def _nodes_wanted(self) -> int:
        return self._count

    # -- the story ----------------------------------------------------------------------------------------------

    async def _main(self, inspect: Callable[[World, EngineStore], None]) -> None:
        helpers = [self._helper(self._split(), "split")]
        if self.cluster.outbox is not None:
            helpers.append(self._helper(self._forward(self.cluster.outbox), "forwarder"))
        await super()._main(inspect)
        for helper in helpers:
            helper.cancel()
        if not self.splits:
            self.witness.accuse("no two nodes ever believed that they own a shard")

    async def _settle(self, inspect: Callable[[World, EngineStore], None]) -> None:
        await self._share()
        await super()._settle(inspect)

    def _unfinished(self) -> list[str]:
        """Also doors that have given a slot, or have mail, and an outbox that is not empty."""
        outbox, store = self.cluster.outbox, self.cluster.store
        doors = [head.id for head in every_head(store) if is_door(head.id)]
        busy = [found for id in doors for found in immediately(store.load(self.shard_of(id), [id]))]
        left = [found.head.id for found in busy if found.waits or found.mail]
        return [*super()._unfinished(), *left, *(["the outbox"] if outbox is not None and outbox.waiting else [])]

    async def _forward(self, outbox: OutboxStore) -> None:
        """Empty the outbox, as long as the forwarder lives, which is started again each time it has died."""
        chance, probes = self._forwarding, self.witness.probes
        pauses = (chance.choice(FORWARD_SECONDS), chance.choice(FORWARD_SECONDS))
        deaths = chance.choice(FORWARDER_DEATHS)
        while True:
            dies = not self._healed and chance.random() < deaths
            count = outbox.forward(chance, dies=dies)
            probes["forwarded"] += count
            probes["forwarder died between delivery and deletion"] += dies and count > 0
            await asyncio.sleep(max(0.001, chance.choice(pauses)) if count else 0.01)

    def _epoch_begins(self, lease: Lease, ran_out: int | None) -> None:
        """A node has taken a shard: whether another one believes that it owns it, and had every chance to keep it."""
        others = [node for node in self.alive if node.name != lease.owner]
        for node in others:
            if any(shard.shard == lease.shard for shard in node.shards):
                self.splits += 1
                self.witness.probes["two nodes believe that they own a shard"] += 1
                if ran_out is not None and self._keeps_in_time:
                    self._must_be_harmed(node, lease, ran_out)

    @property
    def _keeps_in_time(self) -> bool:
        """Whether a beat is never so late, for all that the store takes its time, that a lease runs out by that."""
        seconds = self.layout.lease_seconds
        return 3 * max(delay or 0.0 for delay in self._weather.delays) + seconds / BEATS_PER_LEASE < seconds / 2

    def _must_be_harmed(self, node: Node, lease: Lease, ran_out: int) -> None:
        renewed_at = (ran_out - START - self.layout.skew) / SECOND - self.layout.lease_seconds
        if node.harmed_at + 0.001 < renewed_at:  # because both are rounded
            text = f"nothing has happened to it since {node.harmed_at:.3f}, and it was renewed at {renewed_at:.3f}"
            self.witness.accuse(f"{lease.owner} took shard {lease.shard}, of which {node.name} kept no lease: {text}")

    # -- harm ---------------------------------------------------------------------------------------------------

    async def _split(self) -> None:
        """Take shards from a node that does not know, until one has written under a lease that was lost."""
        chance, probes = self._tape_of_harm, self.witness.probes
        await asyncio.sleep(chance.choice(SPLIT_AT))
        tries = 0
        while not (self.splits and probes["commit fenced"]) and not self._healed:
            self._weather.pause(tries >= SPLIT_TRIES)  # because amid too many faults no node comes that far
            owners = [node for node in self.alive if node.is_open and node.is_owner]
            if len(owners) >= NODES_MIN:
                tries += 1
                what = chance.choice(SPLITS) if tries < SPLIT_TRIES else "no beats"
                await self._harm_for(chance.choice(owners), what, SPLIT_LEASES)
            await asyncio.sleep(0.5)
            tries += self.loop.time() > SPLIT_BY
        self._weather.pause(False)

    async def _do_mischief(self) -> None:
        chance = self._tape_of_harm
        for at, what in self.scenario.mischief:
            await asyncio.sleep(max(0.0, at - self.loop.time()))
            nodes = [node for node in self.alive if node.is_open]
            if nodes:
                node = chance.choice(nodes)
                self._helper(self._harm_for(node, what, chance.choice(LEASES_LOST)), what)

    async def _harm_for(self, node: Node, what: str, leases: float) -> None:
        """Do it to the node, for so many leases."""
        seconds = leases * self.layout.lease_seconds
        self.witness.probes[what] += 1
        self._harvest(node)
        self.log(f"{what}: {node.name}, {seconds:.2f} s")
        match what:
            case "crash":
                node.kill()
            case "leave":
                self._count = max(NODES_MIN, self._count - 1)
                await self._close(node)
            case "join":
                self._count = min(NODES_MAX, self._count + 1)
            case "freeze":
                node.harmed_at = self.loop.time() + seconds
                node.process.frozen_until = self.loop.time() + seconds
                await asyncio.sleep(seconds)
            case "slow":
                self._ways.lay(node.name, Way.SLOW)
                self._helper(self._rush(node, seconds), "rush")
                await asyncio.sleep(seconds)
                self._ways.lay(node.name, Way.OPEN)
            case "store restarts" | "store fails over":
                self._ways.lay_trunk(CUTS[what])
                await asyncio.sleep(seconds)
                self._ways.lay_trunk(Way.OPEN)
            case _:
                self._ways.lay(node.name, CUTS[what])
                await asyncio.sleep(seconds)
                self._ways.lay(node.name, Way.OPEN)

    async def _rush(self, node: Node, seconds: float) -> None:
        """Clients start something new all the time at a node whose way is slow, and when it is open again."""
        for _ in range(RUSH_COUNT):
            self._rushed += 1
            self._helper(self._start_new(node, f"rush-{self._rushed}"), "client in a hurry")
            await asyncio.sleep(1.2 * seconds / RUSH_COUNT)

    async def _start_new(self, node: Node, id: str) -> None:
        """One who has not been there before must not be told that it is there already."""
        program = encode_arguments((Program(Effect(8_900, How.OK)), 0), {})
        try:
            await node.call(node.gateway.start("program", program, StartOptions(id=id)))
        except InstanceExists:
            self.witness.accuse(f"{id} was refused as there already, though nobody else had started it")
        except (StoreUnavailable, Fenced, NodeDied):
            return  # because nobody asks again

    def _heal(self) -> None:
        """No more faults, and good code everywhere."""
        self.log("faults stop")
        self.plan.stop()
        self._ways.heal()
        self._healed = True
        if self.scenario.bad is not None:
            for node in self.alive:
                node.kill()

    # -- what must hold at the end --------------------------------------------------------------------------------

    async def _share(self) -> None:
        """Soon after the last fault each living node has its share of the shards, and each shard one owner."""
        ends = self.loop.time() + SHARED_SECONDS
        while (wrong := self._unfair()) is not None:
            if self.loop.time() > ends:
                self.witness.accuse(wrong)
                return
            await asyncio.sleep(0.1)
        self.witness.probes["shares fair"] += 1

    def _unfair(self) -> str | None:
        nodes = [node for node in self.alive if node.is_open]
        owned = {node.name: sorted(shard.shard for shard in node.shards) for node in nodes}
        told = f"nodes own {owned} of {self.layout.shards} shards"
        if len(nodes) != self._count:
            return f"{told}; there should be {self._count} nodes"
        if sorted(shard for shards in owned.values() for shard in shards) != immediately(
            self.cluster.store.shards(APP)
        ):
            return f"{told}: not each by one"
        if not all(self.witness.is_newest(shard.lease) for node in nodes for shard in node.shards):
            return f"{told}: not all under their newest lease"
        least = self.layout.shards // self._count
        unfair = any(not least <= len(shards) <= least + 1 for shards in owned.values())
        return f"{told}: that is not fair" if unfair else None
