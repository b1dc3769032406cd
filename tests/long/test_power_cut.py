"""What was answered is there after the power was cut: at many points, and on a real file system."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import IO

import msgspec
import pytest

from perdure import App, wait_for_event
from perdure.errors import StoreError
from tests.power.cut import cut_points, every_damage
from tests.power.disk import Disk
from tests.power.trace import Answered, Fact
from tests.power.trial import KEPT_TRACES, failures, judged, record
from tests.power.verdict import FILE, judge, order_of
from tests.power.workload import is_secretive

pytestmark = pytest.mark.timeout(240)

POINTS = 240
POWER_CUTS = 40
ANSWERS_MAX = 80
"""How many answers a worker gives at most before the power is cut."""


def test_with_full_no_cut_loses_an_answer(tmp_path: Path) -> None:
    trace = record(tmp_path, "full", sessions=3, orders=25)
    points = cut_points(trace, POINTS)
    assert len(points) == POINTS
    broken = failures(trace, every_damage(points), KEPT_TRACES / "long.trace")
    assert not broken, broken


def test_with_unsafe_normal_cuts_lose_answers_but_never_the_file(tmp_path: Path) -> None:
    trace = record(tmp_path, "unsafe_normal", sessions=3, orders=25)
    cuts = every_damage(cut_points(trace, POINTS // 2))
    verdicts = [verdict for _, verdict in judged(trace, cuts, finish=False)]
    assert sum(bool(verdict.lost) for verdict in verdicts) > POINTS / 4
    assert not any(verdict.damage for verdict in verdicts)


def test_with_full_a_real_file_system_loses_no_answer(tmp_path: Path) -> None:
    facts: dict[str, Fact] = {}
    with Disk(tmp_path) as disk:
        for number in range(POWER_CUTS):
            facts.update(answers_until_cut(disk, "full", number))
            verdict = asyncio.run(judge(disk.folder, facts))
            assert verdict.is_clean, f"power cut {number}: {verdict}"
            # because the engine has now seen all of them through
            facts = {id: fact if fact is Fact.PURGED else Fact.FINISHED for id, fact in facts.items()}
    assert len(facts) > POWER_CUTS


def test_with_unsafe_normal_a_real_file_system_loses_answers(tmp_path: Path) -> None:
    lost = 0
    with Disk(tmp_path) as disk:
        for number in range(5):
            facts = dict(answers_until_cut(disk, "unsafe_normal", number))
            verdict = asyncio.run(judge(disk.folder, facts, finish=False))
            assert not verdict.damage
            lost += len(verdict.lost)
    assert lost > 0, "the cut would not show a lost answer"


def test_after_the_cut_nothing_is_answered(tmp_path: Path) -> None:
    async def scenario(disk: Disk) -> None:
        app = App("shop")

        @app.workflow
        async def buy() -> None:
            await wait_for_event("address")

        await app.open(store=f"sqlite:///{disk.folder / FILE}")
        try:
            await buy.with_options(id="before").start()
            disk.cut()
            async with asyncio.timeout(5):
                with pytest.raises(StoreError):
                    await buy.with_options(id="after").start()
        finally:
            with suppress(StoreError):
                await app.close()

    with Disk(tmp_path) as disk:
        asyncio.run(scenario(disk))
        disk.power_on()
        verdict = asyncio.run(judge(disk.folder, {"before": Fact.STARTED}, finish=False))
        assert verdict.is_clean, verdict


def answers_until_cut(disk: Disk, synchronous: str, number: int) -> Iterator[tuple[str, Fact]]:
    """What a worker told its clients before the power was cut; then the disk is there again.

    The number is the seed of how many answers the cut waits for.
    """
    url = f"sqlite:///{disk.folder / FILE}?synchronous={synchronous}"
    wanted = Random(number).randint(1, ANSWERS_MAX)
    log = disk.folder.with_name("worker.log")
    with log.open("w") as stderr:
        worker = subprocess.Popen(
            [sys.executable, "-m", "tests.power.workload", url, f"c{number}"],
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    assert worker.stdout is not None
    with worker, worker.stdout as told:
        try:
            lines = [told.readline() for _ in range(wanted)]
            assert all(lines), f"the worker ended by itself: {log.read_text()}"
            lines += what_is_there(told)
            disk.cut()
        finally:
            worker.kill()
        # nobody has heard of these any more, but a purge may have followed them
        late = {answer.instance for answer in answers(told.readlines())}
    disk.power_on()
    for answer in answers(lines):
        if not (answer.instance in late and is_secretive(order_of(answer.instance))):
            yield answer.instance, answer.fact


def what_is_there(pipe: IO[bytes]) -> list[bytes]:
    """The lines that wait in a pipe."""
    os.set_blocking(pipe.fileno(), False)
    try:
        return (pipe.read() or b"").splitlines()
    finally:
        os.set_blocking(pipe.fileno(), True)


def answers(lines: Iterable[bytes]) -> Iterator[Answered]:
    return (msgspec.json.decode(line, type=Answered) for line in lines)
