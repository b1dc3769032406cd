"""The commands of the audit log, through a shell: who did what, and what tampering with its rows is found."""

import csv
import getpass
import io
import json
import sqlite3
from contextlib import closing

import pytest


class Desk:
    """`perdure` on the store of a shell, within this process, because that is quicker."""

    def __init__(self, shell, inside):
        self.folder, self.begin, self._inside = shell.folder, shell.begin, inside

    def text(self, *words: str, code: int = 0) -> str:
        return self._inside(*words, code=code)[0]

    def error(self, *words: str, code: int) -> str:
        return self._inside(*words, code=code)[1]

    def lines(self, *words: str, code: int = 0) -> list[dict]:
        return [json.loads(line) for line in self.text(*words, "--json", code=code).splitlines()]

    def json(self, *words: str, code: int = 0) -> dict:
        (document,) = self.lines(*words, code=code)
        return document

    run = text


def entries(shell, *options: str) -> list[dict]:
    return shell.lines("audit", "show", *options)


def change(shell, *statements: str) -> None:
    with closing(sqlite3.connect(shell.folder / "shop.db")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def steered(shell, inside):
    """A store with three actions, each followed by what became of it."""
    shell = Desk(shell, inside)
    shell.begin("approval", "Ada", id="a")
    shell.begin("approval", "Bob", id="b")
    shell.run("suspend", "a", "--reason", "stock-taking")
    shell.run("raise", "a", "approved", '"yes"')
    shell.run("terminate", "b")
    return shell


def test_an_entry_tells_who_did_what_and_what_became_of_it(steered):
    log = entries(steered)
    actions = [(one["action"], one["instance"]) for one in log if "of" not in one]
    assert actions == [("suspend", "a"), ("raise", "a"), ("terminate", "b")]
    suspended, ended = log[0], next(one for one in log if one.get("of") == 1)
    assert suspended["actor"]["kind"] == "cli"
    assert suspended["actor"]["name"]
    assert suspended["details"] == {"reason": "stock-taking"}
    assert (suspended["before"]["status"], suspended["before"].get("suspended", False)) == ("pending", False)
    # because no worker is up that could take it in
    assert (ended["outcome"], ended["after"]["status"]) == ("done", "pending")
    assert log[-1]["after"]["status"] == "terminated"
    assert [one["number"] for one in log] == [1, 2, 3, 4, 5, 6]
    assert "stock-taking" in steered.text("audit", "show", "--instance", "a")
    assert entries(steered, "--instance", "b", "--since", "-1h") == log[4:]
    assert entries(steered, "--until", "-1h") == []


def test_what_was_refused_is_entered_with_why(steered):
    steered.error("purge", "a", code=2)
    steered.run("purge", "b")
    outcomes = [(one["action"], one["instance"], one["outcome"]) for one in entries(steered)[6:] if "of" in one]
    assert outcomes == [("purge", "a", "PERDURE-1203"), ("purge", "b", "done")]


def test_an_export_has_every_entry(steered):
    lines = steered.lines("audit", "export")
    assert lines == entries(steered)
    rows = list(csv.DictReader(io.StringIO(steered.text("audit", "export", "--format", "csv"))))
    assert [(int(row["number"]), row["action"]) for row in rows] == [(one["number"], one["action"]) for one in lines]


def test_an_unbroken_log_is_told_with_its_anchor(steered):
    told = steered.json("audit", "verify")
    assert (told["entries"], told["broken"]) == (6, None)
    assert told["anchor"] in steered.text("audit", "verify", "--anchor", told["anchor"])


@pytest.mark.parametrize(
    "statement, broken",
    [
        ("update perdure_audit set entry = replace(entry, 'stock-taking', 'a joke') where number = 1", 1),
        ("update perdure_audit set entry = replace(entry, '\"done\"', '\"lost\"') where number = 6", 6),
        ("delete from perdure_audit where number = 3", 3),
        ("delete from perdure_audit where number = 1", 1),
        ("delete from perdure_audit where number > 4", 5),
        ("delete from perdure_audit", 1),
        ("update perdure_audit set entry = 'x' where number = 2", 2),
        ("insert into perdure_audit select app, 7, entry from perdure_audit where number = 6", 7),
        ("update perdure_audit_head set number = 5", 6),
    ],
)
def test_tampering_with_rows_is_found(steered, statement, broken):
    change(steered, statement)
    told = steered.json("audit", "verify", code=1)
    assert told["broken"] == broken
    assert told["entries"] == broken - 1, "so many are before it"
    assert f"{broken}" in told["sentence"]
    assert told["sentence"] in steered.error("audit", "verify", code=1)


def test_two_entries_in_each_others_place_are_found(steered):
    change(
        steered,
        "update perdure_audit set number = -1 where number = 2",
        "update perdure_audit set number = 2 where number = 5",
        "update perdure_audit set number = 5 where number = -1",
    )
    assert steered.json("audit", "verify", code=1)["sentence"] == "in the place of entry 2 stands entry 5"


def test_a_tail_that_was_cut_off_with_its_anchor_is_found_by_one_that_was_kept_elsewhere(steered):
    anchor = steered.json("audit", "verify")["anchor"]
    fourth = sorted(steered.lines("audit", "export"), key=lambda one: one["number"])[4]["previous"]
    change(
        steered,
        "delete from perdure_audit where number > 4",
        f"update perdure_audit_head set number = 4, hash = '{fourth}'",
    )
    assert steered.json("audit", "verify")["entries"] == 4  # because nothing in the store tells
    told = steered.json("audit", "verify", "--anchor", anchor, code=1)
    assert (told["broken"], told["sentence"]) == (5, "entries 5 to 6 are missing since the anchor was kept")


def test_a_log_that_was_written_anew_is_found_by_an_anchor(steered):
    anchor = steered.json("audit", "verify")["anchor"]
    change(steered, "delete from perdure_audit", "delete from perdure_audit_head")
    for name in ("suspend", "resume", "suspend"):
        steered.run(name, "a")
    assert steered.json("audit", "verify")["entries"] == 6
    told = steered.json("audit", "verify", "--anchor", anchor, code=1)
    assert told["sentence"] == "entry 6 is not what it was when the anchor was kept"
    assert "anchor 'x' is none" in steered.error("audit", "verify", "--anchor", "x", code=2)


@pytest.mark.long
def test_the_log_can_be_switched_off(shell):
    shell.environment["PERDURE_AUDIT"] = "off"
    shell.begin("approval", "Ada", id="a")
    shell.run("suspend", "a")
    assert entries(shell) == []


@pytest.mark.long
def test_a_server_tells_which_token_was_shown_and_from_where(shell):
    shell.environment["DAPR_API_TOKEN"] = "s3cret"
    with shell.server() as server:
        address = ("--server", f"127.0.0.1:{server.wait_for('owner')['grpc_port']}")
        shell.begin("approval", "Ada", id="a")
        shell.run("suspend", "a", *address)
        log = shell.lines("audit", "show", *address)
        while not any("of" in one for one in log):
            log = shell.lines("audit", "show", *address)
        actor = log[0]["actor"]
        assert (actor["kind"], actor["name"]) == ("server", "api-token")
        assert actor["place"].startswith("ipv4:127.0.0.1:")
        assert actor["claims"].startswith(getpass.getuser())
        shell.run("raise", "a", "approved", '"yes"', *address)
        actions = [one["action"] for one in shell.lines("audit", "show", *address) if "of" not in one]
        assert actions == ["suspend", "raise"]
        assert shell.json("audit", "verify", *address)["broken"] is None
