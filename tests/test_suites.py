"""What suites need is made beside those before them, and whoever fails says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import suites

ROW = '[[suite]]\nname = "{name}"\ngroups = ["all"]\nseconds = 30\ncommand = "{command}"\n{more}\n'


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *rows: tuple[str, str, str]) -> int:
    """The exit code of a group with these suites: names, commands, and what makes what they need."""
    table = folder / "budgets.toml"
    told = [
        ROW.format(name=name, command=command, more=prepare and f'prepare = "{prepare}"')
        for name, command, prepare in rows
    ]
    table.write_text("[groups]\nall = 30\n\n" + "\n".join(told))
    monkeypatch.setattr(suites, "BUDGETS", table)
    monkeypatch.setattr(suites, "PREPARED", folder / "prepared")
    return suites.main(["all"])


def test_what_a_later_suite_needs_is_made_while_an_earlier_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "made"
    until_made = f"sh -c 'until test -e {made}; do sleep 0.05; done'"
    code = run(tmp_path, monkeypatch, ("first", until_made, ""), ("second", f"test -e {made}", f"touch {made}"))
    assert code == 0


def test_a_suite_waits_for_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tmp_path / "made"
    assert run(tmp_path, monkeypatch, ("only", f"test -e {made}", f"sh -c 'sleep 0.5; touch {made}'")) == 0


def test_a_suite_fails_whose_needs_cannot_be_made_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ran = tmp_path / "ran"
    assert run(tmp_path, monkeypatch, ("only", f"touch {ran}", "sh -c 'echo no network; exit 3'")) == 1
    said = capfd.readouterr().out
    assert "no network" in said
    assert "EXIT CODE 3 OF ITS PREPARATION" in said
    assert not ran.exists()


def test_what_is_still_being_made_ends_with_a_group_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, monkeypatch, ("first", "false", ""), ("second", "true", "sleep 600")) == 1
    assert "NOT RUN" in capfd.readouterr().out
