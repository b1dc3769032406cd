"""Stores and servers by name, and what may be done at each."""

import pytest

from perdure.cli.targets import find_target, parse_targets, read_targets, targets_file
from perdure.errors import InvalidArgument
from perdure.sdk.role import Role

FILE = b"""
[prod]
store = "postgresql://ann:hunter2@db.example.org/shop"
app = "shop"
role = "read"

[lab]
server = "lab.example.org:50001"
"""


def test_the_file_names_stores_and_servers():
    prod, lab = parse_targets(FILE, "t").values()
    assert (prod.url, prod.app, prod.role, prod.words) == (
        "postgresql://ann:hunter2@db.example.org/shop",
        "shop",
        Role.READ,
        "--target prod",
    )
    assert prod.address == "postgresql://ann@db.example.org/shop"
    assert (lab.url, lab.role) == ("grpc://lab.example.org:50001", Role.ADMIN)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("[a", "is no TOML"),
        ("[a]\nstor = 1", "stor"),
        ("[a]\nrole = 'read'", "either a store or a server"),
        ("[a]\nstore = 'sqlite:///a'\nserver = 'h:1'", "either a store or a server"),
        ("[a]\nstore = 'shop.db'", "is no address"),
        ("[a]\nserver = 'h:1'\nrole = 'king'", "is none of read, operate, admin"),
        ("a = 1", "Expected"),
    ],
)
def test_a_mistake_in_the_file_is_told(text, sentence):
    with pytest.raises(InvalidArgument, match=sentence):
        parse_targets(text.encode(), "t")


def test_the_file_is_where_the_settings_of_a_user_are(tmp_path):
    assert targets_file({"HOME": "/home/a"}).as_posix() == "/home/a/.config/perdure/targets.toml"
    assert targets_file({"HOME": "/home/a", "XDG_CONFIG_HOME": "/c"}).as_posix() == "/c/perdure/targets.toml"
    assert targets_file({"PERDURE_TARGETS": "/t"}).as_posix() == "/t"
    assert read_targets({"PERDURE_TARGETS": str(tmp_path / "none")}) == {}
    with pytest.raises(InvalidArgument, match="cannot be read"):
        read_targets({"PERDURE_TARGETS": str(tmp_path)})
    with pytest.raises(InvalidArgument, match="it has none"):
        find_target("prod", {"PERDURE_TARGETS": str(tmp_path / "none")})


@pytest.mark.long
def test_commands_find_a_target_and_keep_to_its_role(shell):
    (shell.folder / "targets.toml").write_text(
        f"[here]\nstore = '{shell.url}'\nrole = 'operate'\n[watched]\nstore = '{shell.url}'\nrole = 'read'\n"
        "[gone]\nstore = 'sqlite:////nowhere/none.db'\n"
    )
    shell.environment |= {"PERDURE_TARGETS": "targets.toml", "PERDURE_STORE": ""}
    shell.begin("approval", "bob", id="a")
    with shell.worker("--store", shell.url):
        shell.until("a", lambda state: state["status"] == "running")
        assert shell.json("show", "a", "--target", "watched")["status"] == "running"
        told = shell.text("explain", "a", "--target", "here")
        command = told.splitlines()[-1].split()
        assert command[2:4] == ["--target", "here"]
        refused = shell.error("raise", "a", "approved", '"x"', "--target", "watched", code=1)
        assert "target 'watched' is for role read, and this needs operate" in refused
        assert "this needs admin" in shell.error("terminate", "a", "--target", "here", code=1)
        assert "no target 'nowhere'" in shell.error("list", "--target", "nowhere", code=2)
        shell.run("raise", "a", "approved", '"yes"', "--target", "here")
        shell.until("a", lambda state: state["status"] == "completed")
        states = {line["name"]: line["state"] for line in shell.lines("targets")}
        assert (states["here"], states["watched"]) == ("up", "up")
        assert states["gone"].startswith("down: there is no store at")
        assert "operate" in shell.text("targets", "--no-check")
