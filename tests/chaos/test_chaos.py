"""Nothing is lost and nothing happens twice, whatever befalls nodes and store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import namespace
from tests.chaos.nemesis import ALL, CUT, DEAF, FLAP, JOIN, KILL, LEAVE, MUTE, PAUSE
from tests.chaos.stores import LOOPBACK, Store, mariadb, postgres, valkey
from tests.chaos.trial import Verdict, trial

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


def tried(
    store: AbstractContextManager[Store], folder: Path, seed: int, seconds: float, kinds: Sequence[str], **settings: Any
) -> Verdict:
    with store as server:
        verdict = asyncio.run(trial(server, folder, seed, seconds=seconds, kinds=kinds, **settings))
    print(verdict)
    return verdict


def test_killed_nodes_lose_nothing_and_others_go_on_in_time(tmp_path: Path) -> None:
    def cuts_off(seed: int) -> bool:
        folder = tmp_path / str(seed)
        folder.mkdir()
        verdict = tried(postgres(), folder, seed, 30.0, [KILL], harm_seconds=6.0, work_seconds=0.1)
        assert verdict.found == []
        return bool(verdict.resumed)

    assert any(cuts_off(seed) for seed in (1, 11, 21)), "no kill has cut an attempt off, so nothing was shown"


def test_nodes_that_come_and_go_in_good_order_repeat_nothing(tmp_path: Path) -> None:
    verdict = tried(postgres(), tmp_path, 5, 20.0, [JOIN, LEAVE])
    assert verdict.found == []
    assert verdict.done[LEAVE]


def test_all_harms_in_turn_on_postgresql(tmp_path: Path) -> None:
    verdict = tried(postgres(), tmp_path, 2, 35.0, ALL)
    assert verdict.found == []
    assert set(ALL) <= set(verdict.done), "a harm was not done"


def test_all_harms_in_turn_on_mariadb(tmp_path: Path) -> None:
    assert tried(mariadb(), tmp_path, 3, 25.0, ALL).found == []


def test_all_harms_in_turn_on_valkey(tmp_path: Path) -> None:
    assert tried(valkey(), tmp_path, 4, 25.0, ALL).found == []


def test_nodes_in_networks_of_their_own_that_the_kernel_cuts(tmp_path: Path) -> None:
    store = postgres(hosts=(*LOOPBACK, namespace.STORE_HOST))
    kinds = [CUT, DEAF, MUTE, FLAP]
    with namespace.prepared():
        verdict = tried(store, tmp_path, 9, 25.0, kinds, harm_seconds=3.0, make_cable=namespace.Namespace)
    assert verdict.found == []
    logs = [path.read_text() for path in tmp_path.glob("*.log")]
    assert any("is given up: another node holds the shard now" in log for log in logs), "no cut has cost a lease"


def test_nodes_that_go_on_with_shards_that_are_not_theirs_are_found(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"harm_seconds": 8.0, "lease_seconds": 1.0, "mutant": "unfence"}
    verdict = tried(postgres(), tmp_path, 7, 18.0, [PAUSE], quiet_seconds=10.0, **settings)
    assert verdict.found  # with what depends on who of them comes first


def test_nodes_that_do_not_take_up_what_ran_elsewhere_are_found(tmp_path: Path) -> None:
    def finds(seed: int) -> bool:
        folder = tmp_path / str(seed)
        folder.mkdir()
        verdict = tried(postgres(), folder, seed, 12.0, [KILL], harm_seconds=3.0, quiet_seconds=8.0, mutant="forget")
        return any("and again never" in line for line in verdict.found)

    assert any(finds(seed) for seed in range(7, 12)), "a kill may meet no attempt, but not all of them"
