"""Instances that wait for something: each is made to, and what `explain` says moves it."""

from __future__ import annotations

import getpass
import socket
from datetime import UTC, datetime, timedelta

import pytest

from perdure import Queue
from tests.explain.place import APPROVAL, Place

PARENT = """
@app.workflow
async def parent(levels: int, child: str):
    if levels:
        return await parent.with_options(id=f"{child}-{levels}")(levels - 1, child)
    return await approval.with_options(id=child)()
"""
GATE = """
@app.activity
async def gate(name: str) -> str:
    while not pathlib.Path(name).exists():
        await asyncio.sleep(0.01)
    return name

@app.workflow
async def gated(name: str, ahead: float = 0.0) -> str:
    return await gate(name)
"""


def test_an_event_that_nobody_sent(place: Place) -> None:
    with place.running(APPROVAL):
        place.begin("approval", id="a")
        told = place.moves(
            "a",
            "event",
            r"^approval a waits for the event 'approved' that nobody has sent at shop\.py:\d+ in approval\.$",
        )
        assert told.line is not None
        assert (told.next, told.is_normal) == ("nothing", True)


@pytest.mark.long
def test_one_that_is_finished(place: Place) -> None:
    with place.running(APPROVAL):
        place.begin("approval", id="a")
        place.told("a", "event")
        place.shell("perdure terminate a")
        told = place.told("a", "finished")
    assert (told.sentence, told.command) == ("approval a is terminated.", None)


@pytest.mark.long
def test_an_event_with_a_time_that_ends_the_wait(place: Place) -> None:
    code = """
@app.workflow
async def impatient() -> str:
    async with asyncio.timeout(3600):
        return await wait_for_event("approved")
"""
    with place.running(code):
        place.begin("impatient", id="a", run_timeout=7200)
        told = place.moves("a", "event", r"\(1 more wait\)")
        assert told.next.startswith("a timer of it goes off at 20")


TYPED = """
from dataclasses import dataclass
from pydantic import BaseModel

@dataclass
class Payment:
    cents: int
    by: str
    note: str = ""

class Letter(BaseModel):
    text: str

paid = perdure.ExternalEvent("paid", Payment)

@app.workflow
async def order():
    return (await wait_for_event(paid)).cents

@app.workflow
async def asking():
    return await wait_for_event("approved", bool)

@app.workflow
async def reading():
    return (await wait_for_event("read", Letter)).text
"""


@pytest.mark.long
def test_an_event_whose_data_has_a_type(place: Place) -> None:
    with place.running(TYPED):
        place.begin("order", id="o")
        told = place.moves("o", "event", r"^order o waits for the event 'paid' of type Payment that nobody has sent")
        assert told.command == """perdure raise o paid '{"cents":0,"by":""}'"""
        assert place.state("o").output == 0
        place.begin("asking", id="a")
        assert place.told("a", "event").command == "perdure raise a approved false"


@pytest.mark.long
def test_an_event_whose_data_nobody_can_make_up_is_refused_before_it_is_sent(place: Place) -> None:
    with place.running(TYPED):
        place.begin("reading", id="r")
        told = place.told("r", "event")
        assert told.command == "perdure raise r read '<Letter as JSON>'"
        place.printed("raise", "r", "read", "<Letter as JSON>", code=2)
        assert place.told("r", "event") == told
        place.shell("""perdure raise r read '{"text": "well"}'""")
        assert place.ends("r").output == "well"


AGENT = """
from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel
from perdure.agents import DurableAgent

def model(messages, info):
    said = [part for message in messages for part in message.parts if part.part_kind == "tool-return"]
    return ModelResponse([TextPart(said[-1].content) if said else ToolCallPart("pay", {"cents": 1}, "it's call 1")])

payer = Agent(FunctionModel(model), name="payer")

@payer.tool_plain(requires_approval=True)
def pay(cents: int) -> str:
    return "paid"

app = App("shop", drain_seconds=0.5, agents=[DurableAgent(payer)])
"""


@pytest.mark.long
def test_a_call_of_an_agent_that_nobody_decides(place: Place) -> None:
    with place.running(AGENT):
        place.begin("agent.payer", {"prompt": "Pay."}, id="a")
        told = place.moves(
            "a", "decision", r"^agent\.payer a waits for a decision of the call \"it's call 1\" that nobody has made\.$"
        )
        assert (told.next, told.is_normal) == ("nothing", True)


@pytest.mark.long
def test_an_event_that_came_under_another_name(place: Place) -> None:
    with place.running(APPROVAL):
        place.begin("approval", id="a")
        place.told("a", "event")
        place.shell("perdure raise a Approve_d '\"yes\"'")
        told = place.moves("a", "event-near", r"waits for the event 'approved'.*, and one named 'Approve_d' came at 20")
        assert not told.is_normal


@pytest.mark.long
def test_a_child_that_waits_and_its_child(place: Place) -> None:
    with place.running(APPROVAL, PARENT):
        place.begin("parent", 1, "kid", id="top")
        told = place.moves(
            "top",
            "event",
            r"^parent top waits for its child kid-1 at .*, and parent kid-1 waits for its child kid at .*, "
            r"and approval kid waits for the event 'approved'",
        )
        assert told.chain == ("kid-1", "kid")
        assert told.command == "perdure raise kid approved"


@pytest.mark.long
def test_a_long_way_down_is_told_in_short(place: Place) -> None:
    with place.running(APPROVAL, PARENT):
        place.begin("parent", 6, "kid", id="top")
        told = place.moves("top", "event", r"child kid-6 at .*, and so do 5 more between, and parent kid-1 waits")
        assert len(told.chain) == 7


@pytest.mark.long
def test_a_child_that_stands_still_among_others(place: Place) -> None:
    code = """
@app.workflow
async def parent() -> None:
    await asyncio.gather(*(approval.with_options(id=f"kid-{n}")() for n in range(5)))
"""
    with place.running(APPROVAL, code):
        place.begin("parent", id="p")
        place.told("kid-3", "event")
        place.shell("perdure suspend kid-3 --reason 'the bank is closed'")
        told = place.told("p", "suspended")
        assert "and approval kid-3 was suspended (the bank is closed)" in told.sentence
        place.shell(place.command("p"))
        assert place.told("p", "event").command == "perdure raise kid-0 approved"


@pytest.mark.long
def test_a_child_that_is_gone(place: Place) -> None:
    with place.running(APPROVAL, PARENT):
        place.begin("parent", 0, "kid", id="p")
        place.told("p", "event")
    place.sql("delete from perdure_head where id = 'kid'", "delete from perdure_wait where instance = 'kid'")
    with place.running():
        place.moves("p", "child-gone", r"child kid .*, of which the store holds nothing", status="canceled")


@pytest.mark.long
def test_a_parent_that_ended_without_its_child(place: Place) -> None:
    with place.running(APPROVAL, PARENT):
        place.begin("parent", 0, "kid", id="p")
        place.told("p", "event")
        place.shell("perdure terminate p --no-recursive")
        place.moves(
            "kid",
            "parent-finished",
            r"^approval kid waits for the event 'approved'.*; its parent parent p is terminated, so nobody waits",
            status="terminated",
        )


@pytest.mark.long
def test_a_sleep(place: Place) -> None:
    code = """
@app.workflow
async def nap(seconds: float) -> None:
    await asyncio.sleep(seconds)
"""
    with place.running(code):
        place.begin("nap", 3600, id="n")
        told = place.moves("n", "timer", r"^nap n sleeps until 20.* UTC at .*shop", status="canceled")
        assert told.next.startswith("it wakes at 20")


@pytest.mark.long
def test_a_sleep_of_years(place: Place) -> None:
    code = """
@app.workflow
async def nap(seconds: float) -> None:
    await asyncio.sleep(seconds)
"""
    with place.running(code):
        place.begin("nap", 1_764_000_000_000 / 1000, id="n")
        place.moves("n", "timer-far", r"sleeps until 20[78]\d.*, which is 20,4\d\d d .* from now", status="canceled")


@pytest.mark.long
def test_a_start_that_lies_ahead(place: Place) -> None:
    with place.running(APPROVAL):
        place.begin("approval", id="a", at=datetime.now(UTC) + timedelta(days=1))
        place.moves("a", "start-time", r"^approval a starts at 20", status="canceled")


@pytest.mark.long
def test_an_activity_that_is_just_at_work_compared_with_its_kind(place: Place) -> None:
    code = """
@app.activity
async def work(seconds: float) -> None:
    await asyncio.sleep(seconds)

@app.workflow
async def slow(seconds: float) -> None:
    await work(seconds)
"""
    with place.running(code):
        for number in range(6):
            place.begin("slow", 0.3, id=f"done-{number}")
        for number in range(6):
            place.ends(f"done-{number}")
        place.begin("slow", 600, id="s")
        told = place.moves(
            "s",
            "activity",
            r"waits for activity work, attempt 1 at .*; of the last 6 that completed half took up to 0.\d s",
            status="canceled",
        )
        assert told.is_normal


@pytest.mark.long
def test_an_activity_that_runs_for_longer_than_its_kind(place: Place) -> None:
    with place.running(GATE):
        for number in range(6):
            place.begin("gated", "shop.py", id=f"done-{number}")
        for number in range(6):
            place.ends(f"done-{number}")
        place.begin("gated", "never", id="g")
        place.moves(
            "g",
            "activity-long",
            r"waits for activity gate, attempt 1, for \d.* already at .*of the last 6 that completed",
            status="canceled",
        )


@pytest.mark.long
def test_an_attempt_that_failed_and_waits_for_the_next(place: Place) -> None:
    code = """
@app.activity(retry=Retry(max_attempts=9, initial_interval=3600.0))
async def charge() -> str:
    if not pathlib.Path("mended").exists():
        raise ConnectionError("the bank is down")
    return "charged"

@app.workflow
async def order() -> str:
    return await charge()
"""
    with place.running(code):
        place.begin("order", id="o")
        told = place.moves(
            "o",
            "retry",
            r"waits to try activity charge again at 20.* \(attempt 2; last error ConnectionError: the bank is down\)",
            mended=(place.folder / "mended").touch,
        )
        assert told.next.startswith("attempt 2 begins at 20")
        assert told.command == "perdure resume --now o"


@pytest.mark.long
def test_a_limit_that_is_reached_and_by_whom(place: Place) -> None:
    code = """
@app.activity(queue=Queue("post", concurrency=1))
async def post(name: str) -> None:
    while not pathlib.Path(name).exists():
        await asyncio.sleep(0.01)

@app.workflow
async def posted(name: str) -> None:
    await post(name)
"""
    with place.running(code):
        place.begin("posted", "open", id="first")
        place.told("first", "activity")
        place.begin("posted", "open", id="second")
        told = place.moves(
            "second",
            "queue",
            r"waits with activity post at .* in queue post, number 1 of 1 \(1 at once\); slots are held by post of f",
            status="canceled",
        )
        assert told.is_normal


@pytest.mark.long
def test_instances_that_wait_for_each_other(place: Place) -> None:
    code = """
@app.workflow(queue=Queue("narrow", concurrency=1))
async def outer() -> str:
    return await inner.with_options(id="inner")()

@app.workflow(queue=Queue("narrow", concurrency=1))
async def inner() -> str:
    return "in"
"""
    with place.running(code):
        place.begin("outer", id="outer", queue=Queue("narrow", concurrency=1))
        told = place.told("inner", "deadlock")
        assert "inner waits to begin for a slot of queue narrow that outer has; outer outer waits" in told.sentence
        assert told.chain == ("outer",)
        place.moves(
            "outer",
            "deadlock",
            r"is in a deadlock: outer outer waits for its child inner at .*; inner inner waits to begin for a slot of "
            r"queue narrow that outer has",
            status="failed",
        )


@pytest.mark.long
def test_all_slots_of_the_node_are_busy(place: Place) -> None:
    place.program(GATE.replace("app = App", ""), HEADER_NARROW)
    with place.running() as app:
        place.begin("gated", "open", id="first")
        place.told("first", "activity")
        place.begin("gated", "open", id="second")
        told = place.here(app, "second", "slots")
        assert "all 1 slot of this node are busy" in told.sentence
        assert told.command == "perdure cancel second"
        place.does(told.command, "second", "canceled")


@pytest.mark.long
def test_all_workflow_slots_of_the_node_are_held(place: Place) -> None:
    place.program(APPROVAL, HEADER_NARROW.replace("slots=1", "workflow_slots=1"))
    with place.running() as app:
        place.begin("approval", id="first")
        place.told("first", "event")
        place.begin("approval", id="second")
        told = place.here(app, "second", "workflow-slots")
        assert "has not begun: its node has 1 workflow slots; slots are held by first" in told.sentence
        assert told.command == "perdure cancel second"
        place.shell("perdure raise first approved")
        place.here(app, "second", "event")
        place.does(told.command, "second", "canceled")


HEADER_NARROW = """
import asyncio, pathlib
from perdure import App, wait_for_event

app = App("shop", slots=1, drain_seconds=0.5)
"""


@pytest.mark.long
def test_somebody_suspended_it(place: Place) -> None:
    with place.running(APPROVAL):
        place.begin("approval", id="a")
        place.told("a", "event")
        place.shell("perdure suspend a --reason 'until Monday'")
        told = place.told("a", "suspended")
        who = f"{getpass.getuser()} (cli on {socket.gethostname()})"
        assert told.sentence == f"approval a was suspended (until Monday) by {who}."
        place.shell("perdure raise a approved")
        place.moves("a", "suspended", "until Monday", verb="resume")


@pytest.mark.long
def test_a_run_that_goes_on_anew_for_ever(place: Place) -> None:
    code = """
@app.workflow
async def spin(n: int) -> None:
    continue_as_new(n + 1)
"""
    with place.running(code):
        place.begin("spin", 0, id="s")
        place.moves("s", "restarts", r"has begun anew [\d,]+ times, [\d,]+ times a second", status="terminated")


@pytest.mark.long
@pytest.mark.parametrize("id", ["a b; rm -rf $HOME", "it's", "--app", "ä 中"])
def test_ids_that_a_shell_or_an_option_parser_could_take_for_something_else(place: Place, id: str) -> None:
    with place.running(APPROVAL):
        place.begin("approval", id=id)
        place.told(id, "event")
        command = place.command(id) if not id.startswith("-") else place.printed("explain", "--", id)[-1].strip()
        place.does(command, id)
