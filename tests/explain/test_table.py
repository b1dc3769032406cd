"""The table of causes: every row is whole, has its test, and is written so that nothing in it acts on anything."""

from __future__ import annotations

import re
import string
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure.engine.diagnosis.causes import CAUSES, OTHER, Cause, cause_of, counted_reason
from perdure.engine.diagnosis.findings import find
from perdure.engine.diagnosis.near import likeness_of, near_miss
from perdure.engine.diagnosis.sentences import Step, explanation
from perdure.engine.diagnosis.sight import Reference, Scene, Sight
from perdure.engine.diagnosis.words import WORD_CHARACTERS_MAX, command, quoted, shown, span
from perdure.history.nodes import About
from perdure.history.nodes import told as tell
from perdure.history.state import Standing
from perdure.stores.contract import ENTITY, Halt, Head, Mail, Member, Status, Wait, WaitKind

HERE = Path(__file__).parent
ELSEWHERE = {
    "store-full": "tests/remote/test_standing.py, with a store that says so",
    "lent": "tests/remote/test_lending.py, as it takes two servers",
    "stopping": "tests/remote/dispatch/test_dispatcher.py, as a server that stops hardly answers",
    "entity": "tests/engine/test_entities.py, as entities have their code with remote workers",
    "entity-lock": "tests/engine/test_entities.py",
    "locked": "tests/engine/test_entities.py",
    "entity-idle": "tests/engine/test_entities.py",
    "entity-behind": "tests/blocks/test_actors.py, as actors are entities whose code is here",
    "event-unnamed": "tests/remote/test_standing.py, as it needs an SDK that tells no names",
    "schedule": "tests/engine/test_schedules.py",
    "stalled:blobs-unavailable": "tests/engine/test_blobs.py, with a storage that says so",
    "stalled:refused": "tests/remote/dispatch/test_verdict.py, as no SDK asks for what no server can do",
    "stalled:patch-mismatch": "tests/remote/test_clients.py, as its SDK is another one",
    "stalled:turn-too-large": "tests/engine/test_instance.py, as it takes a value of a gigabyte",
    "stalled:turn-not-writable": "tests/actors/test_committer.py, as it is a defect that has to be put in",
    "stalled:other": "is what versions to come will write",
    "child": "is what `explain --all` tells; `explain` follows the child",
}
"""Causes that no test here creates, and where they are."""


@pytest.mark.parametrize("cause", CAUSES.values(), ids=list(CAUSES))
def test_a_row_is_whole(cause: Cause) -> None:
    assert cause.sentence.startswith(("{who} ", "{rest}"))
    for text in (cause.sentence, cause.next):
        assert not text.endswith(".")
        assert all(name is None or name.isidentifier() for _, name, _, _ in string.Formatter().parse(text))
    for text in (cause.why, cause.prevent):
        assert re.fullmatch(r"[A-Z`].*\.", text), text
    assert cause.command is None or str(cause.command).startswith("perdure ")


@pytest.mark.parametrize("cause", CAUSES)
def test_a_row_has_a_test_that_creates_it(cause: str) -> None:
    texts = [path.read_text(encoding="utf-8") for path in HERE.glob("test_*.py") if path.name != Path(__file__).name]
    is_here = any(f'"{cause}"' in text for text in texts)
    assert is_here != (cause in ELSEWHERE), cause


def test_a_stall_of_a_reason_that_is_unknown_has_a_row() -> None:
    assert cause_of("stalled:of-tomorrow").id == OTHER
    assert counted_reason("of-tomorrow") == "other"
    assert counted_reason("non-determinism") == "non-determinism"
    with pytest.raises(KeyError):
        cause_of("of-tomorrow")


NASTY = [
    "it's",
    "a b",
    "$(rm -rf /)",
    "`x`",
    "-n",
    "a\x1b[31mb",
    "tab\tline\nend",
    "\\",
    "\x00"[:0] + "é\u202eb",
    '"',
    "!x",
]


@pytest.mark.parametrize("word", NASTY)
def test_a_word_is_for_a_shell_what_it_is(word: str) -> None:
    assert quoted(word).isprintable()
    done = subprocess.run(["bash", "-c", f"printf '%s' {quoted(word)}"], capture_output=True, check=True)
    assert done.stdout.decode() == word


def test_a_command_keeps_arguments_from_being_options() -> None:
    assert command(("perdure", "raise"), (), ("-x", "go")) == "perdure raise -- -x go"
    assert command(("perdure", "resume"), ("--app", "other", "--now"), ("a b",)) == (
        "perdure resume --app other --now 'a b'"
    )


def halted(reason: str, description: str = "") -> Head:
    halt = Halt(reason, 1, description)
    return Head("i\x1b[2J", "shop", "wf\n", Status.RUNNING, "e", 1, 1, 1, 1, stalled=halt)


@pytest.mark.parametrize("text", ["\x1b]0;x\x07", "{who} {0} {x!r}", "%s", "x" * 100_000, "\u2028\u202e", "\ud800"])
def test_nothing_of_an_instance_acts_in_its_sentence(text: str) -> None:
    head = halted(text, text)
    told = explanation([Step(sight := Sight(head=head, scene=Scene(now=2)), find(sight))], "shop")
    assert told.sentence.isprintable()
    assert told.sentence.startswith(r"wf\n i\x1b[2J stands still (")
    assert len(told.sentence) < 4_000
    assert told.command is not None
    assert told.command.isprintable()


_texts = st.text(max_size=12) | st.sampled_from(["\x1b[2J", "{0}", "--app", "%s", "\ud800"])
_times = st.integers(-10, 3) | st.integers(2**50, 2**63 - 1)
_maybe = st.none()
_waits = st.builds(
    Wait,
    number=st.integers(-20, 1_000),
    kind=st.sampled_from([*WaitKind, "of-tomorrow"]),
    name=_texts,
    since=_times,
    due=_maybe | _times,
    on=_maybe | _texts,
    line=_maybe | _texts,
    attempt=st.integers(0, 9),
    state=st.sampled_from(["held", "answered", "queued", "admitted", "offered", "claimed", "locked", "?"]),
    claimed_by=_maybe | _texts,
    claimed_until=_maybe | _times,
    options=_maybe | st.sampled_from([b"{", b"{}", b"[]", b'{"place":{"queue":"q","limits":{"concurrency":1}}}']),
    failure=_maybe | st.sampled_from([b"{", b'{"type":"E","message":"m"}', b"null"]),
)
_halts = _maybe | st.builds(Halt, reason=_texts, since=_times, description=_maybe | _texts, line=_maybe | _texts)
_heads = st.builds(
    Head,
    id=_texts.filter(bool),
    app=_texts,
    name=_texts,
    status=st.sampled_from(list(Status)),
    execution=st.just("e"),
    generation=st.integers(1, 10**6),
    sequence=st.integers(0, 10**6),
    created=_times,
    updated=_times,
    finished=_maybe | _times,
    suspended=_halts,
    stalled=_halts,
    kind=st.sampled_from(["workflow", "entity", "schedule"]),
)


_nodes = st.lists(st.builds(Member, owner=_texts), max_size=2)


@pytest.mark.long
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(_heads, st.lists(_waits, max_size=4), _nodes, st.booleans(), _times)
def test_whatever_the_rows_hold_there_is_a_sentence(
    head: Head, waits: list[Wait], nodes: list[Member], is_owned: bool, now: int
) -> None:
    scene = Scene(now=now, app="shop", nodes=tuple(nodes), is_owned=is_owned)
    sight = Sight(head=head, scene=scene, waits=waits, parent=head, raised=[(now, "x")])
    told = explanation([Step(sight, find(sight))], "shop")
    assert told.sentence.isprintable()
    assert told.sentence.endswith(".")
    assert not re.search(r"\{\w+\}", told.sentence.replace("{0}", ""))
    assert told.next.isprintable()
    assert told.command is None or told.command.isprintable()
    cause_of(told.cause)


def test_hundreds_of_waits_are_one_sentence_in_which_what_is_wrong_goes_first() -> None:
    head = Head("i", "shop", "wf", Status.RUNNING, "e", 1, 1, 1, 1)
    waits = [Wait(n, WaitKind.ACTIVITY, f"a{n}", 1, attempt=1) for n in range(1, 1_000)]
    waits[150] = Wait(151, WaitKind.ACTIVITY, "bad", 1, due=10**15, attempt=2, failure=b'{"type":"E","message":"m"}')
    scene = Scene(now=2, nodes=(Member("node"),))
    found = find(Sight(head=head, scene=scene, waits=waits))
    assert (found.cause, found.facts["more"]) == ("retry", " (998 more waits)")


def test_an_offered_call_of_which_no_node_that_lives_has_the_activity() -> None:
    head = Head("i", "shop", "wf", Status.RUNNING, "e", 1, 1, 1, 1)
    waits = [Wait(1, WaitKind.ACTIVITY, "charge", 1, attempt=1, state="offered")]
    about = tell(About(activities=["pack"]))
    for nodes, cause in (
        ((Member("n", about=about),), "no-code"),
        ((Member("n", about=about), Member("m")), "offered"),
    ):
        sight = Sight(head=head, scene=Scene(now=2, nodes=nodes), waits=waits)
        assert find(sight).cause == cause
    sight = Sight(head=head, scene=Scene(now=2, nodes=(Member("n", about=about),)), waits=waits)
    told = explanation([Step(sight, find(sight))], "shop")
    assert told.sentence == (
        "wf i waits for activity charge, attempt 1: of app shop there is 1 node, and none that has activity charge."
    )
    assert told.command == "perdure worker --app shop"


def test_a_command_for_another_app_names_it() -> None:
    head = Head("i", "other", "wf", Status.RUNNING, "e", 1, 1, 1, 1)
    sight = Sight(head=head, scene=Scene(now=2), waits=[Wait(-10, WaitKind.EVENT, "go on", 1)])
    step = Step(sight, find(sight))
    assert explanation([step], "shop").command == "perdure raise --app other i 'go on'"
    assert explanation([step], "other").command == "perdure raise i 'go on'"


@pytest.mark.parametrize(
    "options, command",
    [
        (b'{"type":"bool","value":"false"}', "perdure raise i paid false"),
        (b'{"type":"Payment"}', "perdure raise i paid '<Payment as JSON>'"),
        (b'{"of": "tomorrow"}', "perdure raise i paid"),
        (None, "perdure raise i paid"),
    ],
)
def test_a_command_brings_what_the_wait_takes(options: bytes | None, command: str) -> None:
    head = Head("i", "shop", "wf", Status.RUNNING, "e", 1, 1, 1, 1)
    sight = Sight(head=head, scene=Scene(now=2), waits=[Wait(-10, WaitKind.EVENT, "paid", 1, options=options)])
    assert explanation([Step(sight, find(sight))], "shop").command == command


@pytest.mark.parametrize("status", [Status.PENDING, Status.RUNNING])
def test_nobody_is_told_to_steer_an_entity_as_if_it_were_a_workflow(status: Status) -> None:
    head = Head("@counter@a", "shop", "counter", status, "e", 1, 1, 1, 1, kind=ENTITY)
    scene = Scene(now=2, standing=lambda wait: Standing("with-worker", "a worker has it"), is_owned=True)
    sight = Sight(head=head, scene=scene, mail=[Mail(head.id, "k", b"", 1)])
    told = explanation([Step(sight, find(sight))], "shop")
    assert told.sentence.startswith("counter @counter@a has ")
    assert "begun" not in told.sentence
    assert told.command is None


def test_an_entity_that_a_workflow_has_locked_itself_is_not_followed_round_to_it() -> None:
    head = Head("i", "shop", "wf", Status.RUNNING, "e", 1, 1, 1, 1)
    call = Wait(2, WaitKind.ENTITY, "add", 1, on="@counter@a")
    lock = Wait(1, WaitKind.ENTITY, "@counter@a", 1, state="locked", options=b'["@counter@a"]')
    assert find(Sight(head=head, scene=Scene(now=2), waits=[call])).behind == (Reference("@counter@a"),)
    assert find(Sight(head=head, scene=Scene(now=2), waits=[lock, call])).behind == ()


def test_names_that_are_nearly_the_same() -> None:
    assert likeness_of("order.approved", "Order_Approved") == 1.0
    raised = [(1, "approved-1"), (5, "other"), (6, "aproved"), (7, "approval")]
    assert near_miss("approved", 5, raised) == (6, "aproved")
    assert near_miss("approved-2", 5, [(1, "approved-1")]) is None
    assert near_miss("go", 0, [(1, "GO")]) is None, "upper and lower case are one"


def test_times_and_texts_are_short() -> None:
    assert [span(n * 1_000_000) for n in (0, 3, 75, 3_600, 90_061)] == [
        "0.0 s",
        "3.0 s",
        "1 min 15 s",
        "1 h",
        "1 d 1 h",
    ]
    assert len(shown("x" * 10_000)) == WORD_CHARACTERS_MAX + 1
