"""The program as a whole: help, errors and their exit codes, the missing extra, the lint."""

import subprocess
import sys

import pytest

COMMANDS = (
    "worker", "start", "list", "show", "history", "explain", "raise", "cancel", "suspend", "resume",
    "terminate", "purge", "rerun", "lint",
)  # fmt: skip


def test_help_names_every_command(shell):
    text = shell.text("--help")
    assert all(f"\n  {command} " in text for command in COMMANDS)


def test_a_command_waits_for_the_import_of_no_other():
    look = (
        "import sys; from perdure.cli.program import program_for; program_for(['show', 'x']);"
        "print(sorted(m for m in sys.modules if m in ('perdure.cli.looking', 'perdure.cli.serve', 'pydantic')))"
    )
    assert subprocess.check_output([sys.executable, "-c", look], text=True) == "['perdure.cli.looking']\n"


@pytest.mark.parametrize(
    "arguments, code, told",
    [
        (("list", "--store", "sqlite:///"), 2, "PERDURE-1001"),
        (("list", "--store", "sqlite:///shop.db?colour=red"), 3, "PERDURE-1405"),
        (("list", "--store", "sqlite:///missing.db"), 3, "PERDURE-1405"),
        (("list", "--store", "sqlite:///shop.py"), 3, "PERDURE-1402"),
        (("list", "--store", ""), 2, "no store is named"),
        (("list", "--store", "memory:"), 2, "holds no app yet"),
    ],
)
def test_store_that_cannot_be_used(shell, arguments, code, told):
    assert told in shell.error(*arguments, code=code)
    assert not (shell.folder / "missing.db").exists()


def test_unknown_id_is_shown_escaped(shell):
    shell.begin("total", 1, id="t")
    sentence = shell.error("show", "[red]x", code=2)
    assert sentence == "perdure: no instance '[red]x'; `perdure list` shows those there are [PERDURE-1201]"


def test_id_with_control_characters_is_refused_escaped(shell):
    shell.begin("total", 1, id="t")
    sentence = shell.error("show", "\x1b[31m[red]x", code=2)
    assert sentence.startswith(r"perdure: instance id '\x1b[31m[red]x' holds control characters")
    assert sentence.endswith("[PERDURE-1001]")


def test_usage_errors(shell):
    assert "No such command" in shell.run("bogus", code=2).stderr
    assert "Missing argument" in shell.run("show", code=2).stderr
    assert "--status" not in shell.error("list", "--store", "sqlite:///shop.py", "--status", "bogus", code=3)


def test_reader_that_goes_away_is_no_error(shell):
    shell.begin("total", 1, id="t")
    line = f"{sys.executable} -m perdure list --json | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=shell.folder,
        env=shell.environment,
        text=True,
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_without_the_extra_one_sentence_says_what_to_install():
    hide = "import sys; sys.modules['typer'] = None; from perdure.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", hide], text=True, capture_output=True, timeout=20, check=False)
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert 'pip install "perdure[cli]"' in sentence


def test_perdure_itself_needs_no_extra():
    look = "import sys, perdure; print(sorted({'typer', 'rich', 'click'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", look], text=True) == "[]\n"


@pytest.mark.long
def test_lint_finds_what_a_replay_could_not_repeat(shell):
    (shell.folder / "flows").mkdir()
    (shell.folder / "flows" / "bad.py").write_text(
        "import time\nfrom shop import app\n\n@app.workflow\nasync def late() -> float:\n    return time.time()\n"
    )
    done = shell.run("lint", "flows", "shop.py", code=1)
    (line,) = done.stdout.splitlines()
    assert line.startswith("flows/bad.py:6:")
    assert "perdure.now()" in line
    assert done.stderr == "1 finding.\n"
    (finding,) = shell.lines("lint", "flows", code=1)
    assert set(finding) == {"path", "line", "column", "code", "what", "instead"}
    assert shell.run("lint", "shop.py").stderr == "0 findings.\n"
    assert shell.lines("lint", "nowhere.py", code=1)[0]["code"] == "PERDURE-L000"
