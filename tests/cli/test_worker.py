"""The worker process: ownership, standing by, draining, dying, and what it says of a bad address."""

import signal
import sys

import pytest

from perdure.cli.worker import load
from perdure.errors import InvalidArgument


def test_killed_worker_goes_on_after_a_restart_with_what_was_recorded(shell):
    with shell.worker() as first:
        shell.begin("gated", ["one", "two", "three"], id="g")
        (shell.folder / "one").touch()
        shell.until("g", lambda state: state["custom_status"] == {"done": 1, "total": 3})
        # because the call of the second is written before its attempt begins
        shell.until("g", lambda state: "two" in (shell.folder / "attempts").read_text().split())
        first.send(signal.SIGKILL)
        assert first.exit_code() == -signal.SIGKILL
    for name in ("two", "three"):
        (shell.folder / name).touch()
    with shell.worker():
        assert shell.until("g", lambda state: state["finished"])["output"] == ["one", "two", "three"]
    attempts = (shell.folder / "attempts").read_text().split()
    assert attempts.count("one") == 1
    assert attempts.count("two") == 2


@pytest.mark.long
def test_standby_names_the_owner_and_takes_over(shell):
    with shell.worker() as owner, shell.worker(until="standby") as standby:
        assert str(owner.pid) in standby.wait_for("standby")["text"]
        owner.send(signal.SIGKILL)
        standby.wait_for("owner")
        assert shell.text("start", "total", "1", "--wait") == "2\n"
        standby.send(signal.SIGINT)
        assert standby.exit_code() == 0


@pytest.mark.long
def test_sigterm_lets_running_activities_end(shell):
    with shell.worker() as worker:
        shell.begin("gated", ["one", "two"], id="g")
        shell.until("g", lambda state: (shell.folder / "attempts").exists())
        worker.send(signal.SIGTERM)
        worker.wait_for("draining")
        (shell.folder / "one").touch()
        assert worker.exit_code() == 0
    assert (shell.state("g")["custom_status"], shell.status("g")) == ({"done": 1, "total": 2}, "running")


def test_second_signal_ends_at_once(shell):
    with shell.worker() as worker:
        shell.begin("gated", ["one"], id="g")
        shell.until("g", lambda state: (shell.folder / "attempts").exists())
        worker.send(signal.SIGTERM)
        worker.wait_for("draining")
        worker.send(signal.SIGTERM)
        assert worker.exit_code() == -signal.SIGTERM


def test_thread_that_does_not_end_does_not_hold_the_process(shell):
    shell.folder.joinpath("shop.py").write_text(
        shell.folder.joinpath("shop.py").read_text().replace("drain_seconds=5.0", "drain_seconds=0.2")
    )
    with shell.worker() as worker:
        shell.begin("naps", 60, id="n")
        shell.until("n", lambda state: (shell.folder / "asleep").exists())
        worker.send(signal.SIGTERM)
        assert worker.exit_code() == 0


@pytest.mark.long
def test_store_option_takes_the_place_of_the_apps_own(shell):
    with shell.worker("--store", "sqlite:///elsewhere.db"):
        assert shell.text("start", "total", "1", "--wait", "--store", "sqlite:///elsewhere.db") == "2\n"
    assert not (shell.folder / "shop.db").exists()


def test_bad_address_is_one_sentence(shell):
    sentence = shell.error("worker", "shop:missing", code=2)
    assert "has no such attribute; the Apps of the module are: shop:app, shop:other" in sentence
    assert sentence.endswith("[PERDURE-1001]")


@pytest.mark.parametrize(
    "address, told",
    [
        ("shop", "is no MODULE:APP"),
        ("nowhere:app", "there is no module 'nowhere'"),
        ("plain:app", "is no App but a int"),
        ("broken:app", "cannot be imported: ZeroDivisionError: division by zero at "),
        ("leaving:app", "cannot be imported: SystemExit: 3 at "),
        ("unfinished:app", "cannot be imported: SyntaxError: '\\(' was never closed at "),
        ("needs:app", "cannot be imported: ModuleNotFoundError: No module named 'not_there'"),
    ],
)
def test_module_that_gives_no_app(tmp_path, monkeypatch, address, told):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    (tmp_path / "plain.py").write_text("app = 7\n")
    (tmp_path / "broken.py").write_text("x = 1 / 0\n")
    (tmp_path / "leaving.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "unfinished.py").write_text("x = (\n")
    (tmp_path / "needs.py").write_text("import not_there\n")
    with pytest.raises(InvalidArgument, match=told):
        load(address)
    sys.modules.pop("plain", None)
