"""Real processes and SIGKILL: no message is lost, keys keep their order, nothing starts twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from perdure import Client, Status
from perdure.errors import MailboxFull
from perdure.history.topics import PARTITIONS
from tests.engine import topic_app

PROGRAM = Path(topic_app.__file__)
MESSAGES = int(os.environ.get("PERDURE_MESSAGES", "50000"))
"""Of the long test; `make soak` says a million."""
KEYS = 200
AT_ONCE = 500
"""Messages that are on their way to the store at the same time."""
LOOK_SECONDS = 0.2
Lines = list[list[str]]


async def begin(directory: Path) -> asyncio.subprocess.Process:
    """A process that handles messages, once it does."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAM), str(directory), stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


async def killed_at_random(directory: Path, dice: random.Random, is_over: Callable[[], bool]) -> int:
    """Let owners live and die until it is over; how many died."""
    deaths = 0
    while not is_over():
        process = await begin(directory)
        await asyncio.sleep(dice.uniform(0.05, 1.0))
        process.send_signal(signal.SIGKILL)
        await process.wait()
        deaths += 1
    return deaths


async def publish_all(client: Client, count: int) -> None:
    """Messages of each key in the order of their numbers."""
    for first in range(0, count, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, count))
        await asyncio.gather(*(publish(client, number) for number in numbers))


async def publish(client: Client, number: int) -> None:
    key = f"k{number % KEYS}"
    while True:
        try:
            await client.publish("orders", number // KEYS, key=key, id=str(number))
            return
        except MailboxFull:
            await asyncio.sleep(LOOK_SECONDS)


async def left(client: Client) -> int:
    """Messages that some group has not done, or that are on their way to a topic."""
    topics = {topic.name: topic for topic in await client.topics()}
    if not {"orders", "tenths"} <= topics.keys():
        return 1
    return sum(group.left for topic in topics.values() for group in topic.groups)


async def scenario(directory: Path, url: str, count: int, seed: int) -> tuple[int, Lines, Lines]:
    """Deaths, what was handled, and what was started."""
    dice = random.Random(seed)
    async with Client(url, app_id="topics") as client:
        publishing = asyncio.create_task(publish_all(client, count))
        deaths = await killed_at_random(directory, dice, lambda: len(lines_of(directory / "handled")) > 0.8 * count)
        await publishing
        last = await begin(directory)
        tenths = sum(number // KEYS % 10 == 0 for number in range(count))
        while await left(client) or await completed(client) < tenths:
            await asyncio.sleep(LOOK_SECONDS)
        last.send_signal(signal.SIGKILL)
        await last.wait()
    return deaths, lines_of(directory / "handled"), lines_of(directory / "started")


def lines_of(file: Path) -> Lines:
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


async def completed(client: Client) -> int:
    return (await client.counts()).get(Status.COMPLETED, 0)


def check(count: int, deaths: int, lines: Lines, started: Lines) -> None:
    """What at-least-once with order for each key allows, and no more."""
    handled = Counter((key, int(number)) for key, number in lines)
    assert set(handled) == {(f"k{number % KEYS}", number // KEYS) for number in range(count)}
    firsts: dict[str, list[int]] = {}
    for key, number in dict.fromkeys((key, int(number)) for key, number in lines):
        firsts.setdefault(key, []).append(number)
    assert all(numbers == sorted(numbers) for numbers in firsts.values())
    again = sum(handled.values()) - count
    # each partition may have as many in hand, and as many more whose turn was not durable
    assert again <= deaths * 2 * PARTITIONS * topic_app.IN_HAND_MAX
    executions = {(instance, execution) for instance, execution in started}
    assert {instance for instance, _ in executions} == {f"{key}-{n}" for key, n in handled if n % 10 == 0}
    assert len(executions) == len({instance for instance, _ in executions})  # nothing has started twice


@pytest.mark.long
@pytest.mark.timeout(120)
def test_owners_that_die_lose_no_message(tmp_path, url):
    count = 2_000
    deaths, lines, started = asyncio.run(scenario(tmp_path, url, count, seed=1))
    check(count, deaths, lines, started)


@pytest.mark.long
@pytest.mark.timeout(600 + MESSAGES // 100)
def test_fifty_thousand_messages_while_owners_die(tmp_path, url):
    deaths, lines, started = asyncio.run(scenario(tmp_path, url, MESSAGES, seed=2))
    assert deaths >= 3
    check(MESSAGES, deaths, lines, started)
