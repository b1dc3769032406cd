"""Unmodified dapr-agents on `perdure run`: what it does there, and what a kill -9 of everything leaves of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from perdure.testing.openai import FakeOpenAI
from tests.compat.agents.apps import Run
from tests.compat.server import OTHER

SUITE_SECONDS = 900
pytestmark = [pytest.mark.compat, pytest.mark.timeout(SUITE_SECONDS)]

SCENARIOS: list[Callable[[Place], None]] = []


class Place:
    """The programs of all roles, begun together, because most of their time is that of an import."""

    def __init__(self, folder: Path, ends: ExitStack) -> None:
        self.model = ends.enter_context(FakeOpenAI())
        self.keeper = Run(folder / "keeper", ("keeper",), self.model)
        ends.callback(self.keeper.stop)
        self.team = Run(folder / "team", ("weather", "lead", "chief", "tools"), self.model)
        ends.callback(self.team.stop)
        self.keeper.ready()
        self.team.ready()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as ends:
        yield Place(tmp_path_factory.mktemp("agents"), ends)


def scenario(function: Callable[[Place], None]) -> Callable[[Place], None]:
    SCENARIOS.append(function)
    return function


@scenario
def a_run_with_two_tools(place: Place) -> None:
    task = '[[call LookUp {"order": "a"}]] [[call LookUp {"order": "b"}]] [[then]] [[say both are late]]'
    assert place.keeper.answer("keeper", place.keeper.start("keeper", task)) == "both are late"
    assert (place.keeper.ran("look_up-a"), place.keeper.ran("look_up-b")) == (1, 1)


@scenario
def everything_is_killed_in_a_tool_and_before_an_approval(place: Place) -> None:
    """One kill for both, because the import after it is dear. The run in the tool was told of in its state store."""
    keeper = place.keeper
    task = '[[call LookUp {"order": "c"}]] [[then]] [[call Slow {"order": "c"}]] [[then]] [[say c was slow]]'
    in_a_tool = keeper.start("keeper", task)
    waits = keeper.start("keeper", '[[call Refund {"order": "d"}]] [[then]] [[say d is refunded]]')
    keeper.until(lambda: keeper.ran("slow-c"), "begin of the slow tool")
    keeper.until(lambda: keeper.ask("keeper", "GET", "/hitl/approvals"), "request to approve")
    keeper.kill_and_begin()
    keeper.ready()
    assert keeper.answer("keeper", in_a_tool) == "c was slow"
    assert (keeper.ran("look_up-c"), keeper.ran("slow-c")) == (1, 2), "what had ended did not run again"
    (pending,) = keeper.ask("keeper", "GET", "/hitl/approvals")
    assert (pending["instance_id"], keeper.ran("refund-d")) == (waits, 0)
    keeper.ask("keeper", "POST", f"/hitl/approvals/{pending['approval_request_id']}/respond", {"approved": True})
    assert keeper.answer("keeper", waits) == "d is refunded"
    assert keeper.ran("refund-d") == 1


@scenario
def a_run_that_waits_is_terminated_and_purged(place: Place) -> None:
    keeper = place.keeper
    id = keeper.start("keeper", '[[call Refund {"order": "e"}]]')
    keeper.until(lambda: keeper.ask("keeper", "GET", "/hitl/approvals"), "request to approve")
    assert keeper.status("keeper", id)["runtime_status"] == "RUNNING"
    keeper.ask("keeper", "POST", f"/agent/instances/{id}/terminate")
    keeper.until(lambda: keeper.status("keeper", id)["runtime_status"] == "TERMINATED", "end")
    keeper.ask("keeper", "POST", f"/agent/instances/{id}/purge")
    with pytest.raises(HTTPError, match="404"):
        keeper.status("keeper", id)
    assert keeper.ran("refund-e") == 0


@scenario
def an_agent_of_another_app_is_a_tool(place: Place) -> None:
    """`lead` finds `weather` in the registry, and calls it as a child workflow in that app."""
    task = '[[call weather {"task": "[[call Forecast {\\"city\\": \\"Rome\\"}]] [[then]] [[say Rome is sunny]]"}]] '
    task += "[[then]] [[say weather has said it]]"
    assert place.team.answer("lead", place.team.start("lead", task)) == "weather has said it"
    assert place.team.ran("forecast-Rome") == 1


@scenario
def a_message_begins_a_run_of_each_agent_in_turn(place: Place) -> None:
    """A message to the topic of `chief` begins its run, which hands the task to the agents of the team by turns."""
    team, model = place.team, place.model
    model.forget()
    team.server("chief", "POST", "/v1.0/publish/messages/chief", {"task": "say who you are"})
    team.until(lambda: {_speaker(chat) for chat in model.chats} >= {"weather", "lead"}, "answers of both agents")
    done = "workflow completed with status 'ORCHESTRATION_STATUS_COMPLETED' workflowName 'dapr.agents.chief"
    team.until(lambda: team.has_said(done), "end of the run of chief")


def _speaker(chat: dict[str, Any]) -> str:
    """Which agent asks the model."""
    found = re.search(r"Your name is (\w+)", str(chat["messages"][0]["content"]))
    return found[1] if found else ""


@scenario
def tools_of_a_declared_server_and_a_model_of_a_component(place: Place) -> None:
    task = '[[call forecast {"city": "Oslo"}]] [[then]] [[say Oslo is sunny]]'
    team = place.team
    assert team.answer("tools", team.start("tools", task)) == "Oslo is sunny"
    assert "forecast:Oslo" in (team.ledger / "tools").read_text()
    found = team.server("tools", "GET", "/v1.0/metadata")
    assert found["mcpServers"] == [{"name": "weather"}]


@scenario
def settings_change_while_an_agent_runs_and_secrets_are_there(place: Place) -> None:
    team = place.team
    assert team.ask("tools", "GET", "/settings") == {"role": "tools", "GREETING": "hello"}
    team.set("settings", agent_role="judge")
    team.until(lambda: team.ask("tools", "GET", "/settings")["role"] == "judge", "other role")


@pytest.mark.skipif(bool(OTHER), reason="another server is under test")
@pytest.mark.parametrize("play", SCENARIOS, ids=lambda play: f"dapr-agents:{play.__name__}")
def test_scenario(play: Callable[[Place], None], place: Place) -> None:
    play(place)
