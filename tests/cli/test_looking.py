"""`list`, `show`, `history` and `explain`: what people and programs read."""

import pytest

SUMMARY = {
    "id", "app", "name", "status", "execution_id", "run", "created", "updated", "finished", "custom_status",
    "tags", "parent", "suspended", "stalled", "version",
}  # fmt: skip


@pytest.fixture
def busy(shell):
    """A shell in whose store one instance waits, one completed and one failed."""
    with shell.worker():
        shell.run("start", "total", "1", "--id", "done", "--tag", "team=a", "--wait")
        shell.run("start", "fails", '"[bold]\\u001b]0;bad"', "--id", "broken", "--wait", code=1)
        shell.begin("approval", "bob", id="waiting[red]", tags={"team": "b"})
        shell.until("waiting[red]", lambda state: state["status"] == "running")
    return shell


@pytest.mark.long
def test_what_people_and_programs_read(busy):
    lines = busy.text("list").splitlines()
    assert lines[0].split() == ["ID", "WORKFLOW", "STATUS", "CREATED", "AGE", "CUSTOM", "STATUS"]
    assert [line.split()[:3] for line in lines[1:]] == [
        ["waiting[red]", "approval", "running"],
        ["broken", "fails", "failed"],
        ["done", "total", "completed"],
    ]
    listed = busy.lines("list")
    assert all(set(state) == SUMMARY for state in listed)
    filters = {
        ("--status", "completed", "--status", "running"): ["waiting[red]", "done"],
        ("--tag", "team=b", "--created-after", "-1h", "--not-suspended"): ["waiting[red]"],
        ("--text", "O", "--name", "fails", "--finished-before", "+1h"): ["broken"],
    }
    for options, expected in filters.items():
        assert [state["id"] for state in busy.lines("list", *options)] == expected, options
    limited = busy.run("list", "--limit", "2")
    assert len(limited.stdout.splitlines()) == 3
    assert limited.stderr == "These are the newest 2; --limit 0 shows all.\n"

    shown = busy.json("show", "done")
    assert set(shown) == SUMMARY | {"input", "output", "failure"}
    assert (shown["input"], shown["output"], shown["failure"]) == (1, 2, None)
    table = busy.text("show", "broken")
    assert r"ValueError: [bold]\x1b]0;bad" in table
    assert "\x1b" not in table
    assert "KeyError: 'the cause'" in table

    events = busy.lines("history", "done")
    assert [event["type"] for event in events] == [
        "TurnStarted", "RunStarted", "ActivityScheduled", "TurnStarted", "ActivityCompleted", "RunCompleted",
    ]  # fmt: skip
    assert [event["index"] for event in events] == [1, 2, 3, 4, 5, 6]
    assert (events[2]["number"], events[2]["name"], events[2]["input"]) == (1, "add", [[1, 1], {}])
    assert "ActivityCompleted" in busy.text("history", "done")

    told = busy.json("explain", "waiting[red]")
    assert (told["cause"], told["command"]) == ("event", """perdure raise 'waiting[red]' approved '""'""")
    assert (told["next"], told["chain"], told["normal"]) == ("nothing", [], True)
    sentence, since, following, command = busy.text("explain", "waiting[red]").splitlines()
    assert "waits for the event 'approved'" in sentence
    assert since.startswith("  since 20")
    assert following == "  next: nothing"
    assert command == """  perdure raise 'waiting[red]' approved '""'"""
    command = busy.text(
        "explain", "waiting[red]", "--store", f"{busy.url}?synchronous=full", "--app", "shop"
    ).splitlines()[-1]
    assert (
        command == f"""  perdure raise --store '{busy.url}?synchronous=full' --app shop 'waiting[red]' approved '""'"""
    )


@pytest.mark.long
def test_several_apps_in_one_store(shell):
    shell.begin("total", 1, id="a")
    shell.begin("total", 1, id="b", app="other")
    assert "several apps: other, shop" in shell.error("list", code=2)
    assert [state["id"] for state in shell.lines("list", "--app", "other")] == ["b"]
    assert "no app 'typo'; there are: other, shop" in shell.error("list", "--app", "typo", code=2)
    assert "PERDURE-1201" in shell.error("show", "a", "--app", "other", code=2)


@pytest.mark.long
def test_empty_list_says_so(shell):
    shell.begin("total", 1, id="t")
    assert shell.run("list", "--name", "nothing").stderr == "No instance fits.\n"
