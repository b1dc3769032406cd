"""The process behind the HTTP face is killed in the middle of an answer; a client that sends a key gets one answer."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import openai
import pytest

from perdure.testing.openai import FakeOpenAI, Fault

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]
PROMPT = '[[call look {"place": "Rome"}]] [[then]] [[call look {"place": "Oslo"}]] [[then]] [[say both are far]]'


class Life:
    """One process that serves."""

    def __init__(self, model: FakeOpenAI, store: str, port: int) -> None:
        self.store = store
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.agents.web_lives", model.url, store, str(port)],
            stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


def _ask(port: int, got: list[Any]) -> None:
    """As a client does whose connection breaks: again and again, under the same key."""
    asked: Any = {"model": "clerk", "messages": [{"role": "user", "content": PROMPT}]}
    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="any", max_retries=0, timeout=60) as client:
        while not got:
            try:
                answer = client.chat.completions.create(**asked, extra_headers={"Idempotency-Key": "one"})
                got.append((answer.id, answer.choices[0].message.content))
            except openai.APIConnectionError:
                time.sleep(0.05)


@pytest.mark.parametrize("deaths", [(1,), (2, 3)])
def test_a_client_with_a_key_gets_one_answer_though_the_server_dies(tmp_path: Path, deaths: tuple[int, ...]) -> None:
    """Killed while the model answers the request of that number, for each of the deaths."""
    got: list[Any] = []
    with FakeOpenAI() as model:
        life = Life(model, f"sqlite:///{tmp_path}/desk.db", 0)
        try:
            _late(model, deaths[0] - 1)
            asking = threading.Thread(target=_ask, args=(life.port, got), daemon=True)
            asking.start()
            for at, (death, next_one) in enumerate(itertools.zip_longest(deaths, deaths[1:])):
                _until(model, answered=death - 1, asked=death + at)
                life.kill()
                if next_one is not None:
                    _late(model, next_one - death)
                life = Life(model, life.store, life.port)
            asking.join(60)
            assert got == [("clerk-one", "both are far")]
            rounds = [len([each for each in chat["messages"] if each["role"] == "tool"]) for chat in model.chats]
            assert rounds == [0, 1, 2]  # what was answered is not asked again
        finally:
            life.kill()


def _late(model: FakeOpenAI, after: int) -> None:
    """The request after so many others is not answered in time."""
    model.fail(Fault(), times=after)
    model.fail(Fault(latency=40))


def _until(model: FakeOpenAI, *, answered: int, asked: int) -> None:
    ends = time.monotonic() + 30
    while (len(model.chats), model.asked) != (answered, asked):
        assert time.monotonic() < ends, (len(model.chats), model.asked)
        time.sleep(0.01)
