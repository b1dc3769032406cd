"""10,000 accounts as actors on three nodes that are killed all the time: no money is made or lost, at any moment."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from perdure import Client
from tests.stores.postgres import bank_node
from tests.stores.postgres.bank_node import OPENING
from tests.stores.postgres.places import Execute

NODES = 3
ACCOUNTS = 10_000
TRANSFERS = 600
AT_ONCE = 100
AMOUNT_MAX = 150
"""Some transfers are more than an account has."""
KILL_EVERY = 60
"""After so many transfers a node is killed, in the midst of those that are under way."""
STATES = (
    "select coalesce(json_agg(json_build_array(id, custom_status::json -> 2)), '[]') from perdure_head "
    "where kind = 'entity' and custom_status is not null"
)


class Nodes:
    """Processes of the bank. Whoever is killed is started again."""

    def __init__(self, address: str) -> None:
        self._command = [sys.executable, str(Path(bank_node.__file__)), address]
        self._running: list[subprocess.Popen[bytes]] = []
        self.kills = 0

    def keep(self) -> None:
        while len(self._running) < NODES:
            self._running.append(subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))

    def kill(self, dice: random.Random) -> None:
        """Kill one that is at work."""
        victim = self._running.pop(dice.randrange(len(self._running)))
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"ready\n"
        victim.kill()
        victim.communicate(timeout=30)
        self.kills += 1

    def end(self) -> None:
        for process in self._running:
            process.kill()
        for process in self._running:
            process.communicate(timeout=30)


def check(states: list[tuple[str, Any]]) -> dict[str, list[int]]:
    """Hold one moment of all accounts against the law: what is there and on its way is what there was."""
    total = OPENING * (ACCOUNTS - len(states))
    moves: dict[str, list[int]] = defaultdict(list)
    for account, state in states:
        balance, entries = state.get("balance", OPENING), state.get("entries", [])
        assert balance >= 0, account
        assert balance == OPENING + sum(amount for _, amount in entries), account
        total += balance
        for name, amount in entries:
            moves[name].append(amount)
    on_the_way = 0
    for name, amounts in moves.items():
        assert sorted(amounts) in ([min(amounts)], [min(amounts), -min(amounts)]), (name, amounts)
        assert min(amounts) < 0, (name, amounts)  # because nothing is brought before it is taken
        on_the_way -= sum(amounts)
    assert total + on_the_way == OPENING * ACCOUNTS
    return moves


@pytest.mark.long
@pytest.mark.timeout(600)
def test_money_is_conserved_at_every_moment_while_nodes_are_killed(address: str, execute: Execute) -> None:
    lasting = f"{address}{'&' if '?' in address else '?'}lease=2&shards=6"
    nodes, dice = Nodes(lasting), random.Random(7)
    outcomes: dict[str, str] = {}
    moments: list[int] = []
    done = asyncio.Event()

    def moment() -> dict[str, list[int]]:
        """All accounts as one statement sees them."""
        return check([(id, state) for id, state in json.loads(execute(STATES))])

    async def watch() -> None:
        while not done.is_set():
            moves = await asyncio.to_thread(moment)
            moments.append(sum(len(amounts) == 1 for amounts in moves.values()))
            await asyncio.sleep(0.05)

    async def strike() -> None:
        while not done.is_set():
            await asyncio.sleep(0.01)
            if len(outcomes) >= KILL_EVERY * (nodes.kills + 1):
                await asyncio.to_thread(nodes.kill, dice)
                nodes.keep()

    async def transfer(client: Client, room: asyncio.Semaphore, number: int) -> None:
        source, target = dice.sample(range(ACCOUNTS), 2)
        name, amount = f"t{number}", dice.randint(1, AMOUNT_MAX)
        async with room:
            while len(outcomes) >= KILL_EVERY * (nodes.kills + 2):
                await asyncio.sleep(0.01)  # because a node that is to be killed has to be up before
            workflow = client.workflow("transfer").with_options(id=name, if_exists="return")
            handle = await workflow.start(name, str(source), str(target), amount)
            outcomes[name] = await handle.result()

    async def scenario() -> None:
        async with Client(lasting, app_id="bank") as client:
            nodes.keep()
            room = asyncio.Semaphore(AT_ONCE)
            beside = [asyncio.create_task(watch()), asyncio.create_task(strike())]
            await asyncio.gather(*(transfer(client, room, number) for number in range(TRANSFERS)))
            done.set()
            await asyncio.gather(*beside)

    try:
        asyncio.run(scenario())
        moves = moment()
    finally:
        nodes.end()
    assert {name for name, outcome in outcomes.items() if outcome == "done"} == set(moves)
    assert all(len(amounts) == 2 for amounts in moves.values())
    assert nodes.kills >= TRANSFERS // KILL_EVERY - 2
    print(f"{nodes.kills} kills, {len(moments)} moments, at most {max(moments)} transfers on their way")
    assert any(moments), "no moment was seen at which money was on its way"
