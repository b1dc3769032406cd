"""The commands that `explain` prints, whatever the target: they lead to the same place again."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure import Explanation
from perdure.cli.modules import FILES_MAX, where
from perdure.cli.target import Target
from perdure.errors import InvalidArgument
from tests.explain.place import APPROVAL, Place


def told(command: str | None) -> Explanation:
    return Explanation(instance="i", cause="c", sentence="s", command=command)


@pytest.mark.parametrize(
    "target, command, printed",
    [
        (Target(store="sqlite:///a b.db"), "perdure resume i", "perdure resume --store 'sqlite:///a b.db' i"),
        (Target(server="h:1", app="shop"), "perdure raise -- -i go", "perdure raise --server h:1 --app shop -- -i go"),
        (
            Target(store="memory:", app="shop"),
            "perdure cancel --app other i",
            "perdure cancel --store memory: --app other i",
        ),
        (Target(store="memory:"), "perdure schedule show 'a -- b'", "perdure schedule show --store memory: 'a -- b'"),
        (
            Target(store="memory:", codec="shop:app"),
            "perdure raise i go",
            "perdure raise --store memory: --codec shop:app i go",
        ),
        (
            Target(store="memory:", codec="shop:app"),
            "perdure worker --app shop",
            "perdure worker --store memory: --app shop",
        ),
        (Target(store="memory:"), None, None),
    ],
)
def test_a_command_is_completed(target: Target, command: str | None, printed: str | None) -> None:
    assert target.command(told(command)) == printed


def test_what_the_environment_says_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_STORE", "postgresql://u:secret@h/d")
    assert Target(store="postgresql://u:secret@h/d").command(told("perdure resume i")) == "perdure resume i"
    assert Target(store="sqlite:///b").command(told("perdure resume i")) == "perdure resume --store sqlite:///b i"


def test_a_command_with_a_store_of_its_own_runs(place: Place) -> None:
    other = place.folder / "of the shop"
    other.mkdir()
    place.store = place.address = f"sqlite:///{other}/shop.db"
    with place.running(APPROVAL):
        place.begin("approval", id="a")
        place.told("a", "event")
        place.store = "sqlite:///nowhere.db"
        command = place.command("a", "--store", place.address)
        assert "of the shop" in command
        place.does(command, "a")


@pytest.mark.parametrize("arguments", [(), ("a", "--all"), ("a", "--name", "x")])
def test_explain_takes_an_id_or_all(place: Place, arguments: tuple[str, ...]) -> None:
    assert place.printed("explain", *arguments, code=2) == []


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_app_is_found_in_the_modules_of_the_folder(folder: Path) -> None:
    (folder / "shop").mkdir()
    (folder / "shop" / "__init__.py").write_text("")
    (folder / "shop" / "main.py").write_text('import perdure\napp: perdure.App = perdure.App("shop", slots=1)\n')
    (folder / "broken.py").write_text('App("shop" = 1\n')
    (folder / "one.py").write_text(
        'from perdure import App\nraise SystemExit\nother = App(id="other")\nx = App(name())\n'
    )
    assert where("shop") == "shop.main:app"
    assert where("other") == "one:other", "nothing is imported"
    with pytest.raises(InvalidArgument, match=r"no module in .* makes an App with the id 'typo'"):
        where("typo")
    (folder / "two.py").write_text('from perdure import App\nagain = App("shop")\n')
    with pytest.raises(InvalidArgument, match="several places: two:again, "):
        where("shop")


def test_the_search_for_an_app_ends(folder: Path) -> None:
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "a.py").write_text("")
    with pytest.raises(InvalidArgument, match="no module"):
        where("shop")
    assert FILES_MAX >= 1_000
