"""`perdure ui`: one dashboard over several stores and servers, and what it refuses to be."""

import asyncio
import re
import signal
from html import unescape

import httpx
import pytest

from perdure.cli.ui import places
from perdure.errors import InvalidArgument
from perdure.remote.dashboard import Role


def test_targets_are_named_on_the_command_line():
    given = ["prod=postgresql://ann:pw@db.example.org/shop?sslmode=require", "lab=grpc://host:50001"]
    prod, lab = places(None, None, given, ["prod=read"])
    assert (prod.name, prod.role, lab.name, lab.role) == ("prod", Role.READ, "lab", Role.ADMIN)
    assert [place.role for place in places(None, None, given, ["operate"])] == [Role.OPERATE, Role.OPERATE]
    assert prod.words == "--store 'postgresql://ann@db.example.org/shop?sslmode=require'"
    assert lab.words == "--server grpc://host:50001"
    assert [place.url for place in places("sqlite:///a.db", None, None, None)] == ["sqlite:///a.db"]
    assert [place.url for place in places(None, "host:50001", None, None)] == ["grpc://host:50001"]


def test_without_options_the_file_of_targets_is_shown(monkeypatch, tmp_path):
    (tmp_path / "targets.toml").write_text('[prod]\nstore = "sqlite:///a.db"\nrole = "read"\n[lab]\nserver = "h:1"\n')
    monkeypatch.setenv("PERDURE_TARGETS", str(tmp_path / "targets.toml"))
    prod, lab = places(None, None, None, None)
    assert (prod.words, prod.role, lab.url) == ("--target prod", Role.READ, "grpc://h:1")
    assert places(None, None, ["lab"], None) == [lab]


@pytest.mark.parametrize(
    "store, server, targets, roles",
    [
        (None, None, None, None),
        (None, None, ["prod"], None),
        (None, None, ["prod=x"], None),
        (None, None, ["a=sqlite:///a.db", "a=sqlite:///b.db"], None),
        ("sqlite:///a.db", None, None, ["prod=read"]),
        ("sqlite:///a.db", None, None, ["store=owner"]),
    ],
)
def test_what_cannot_be_meant_is_refused(store, server, targets, roles, monkeypatch, tmp_path):
    monkeypatch.setenv("PERDURE_TARGETS", str(tmp_path / "none.toml"))
    with pytest.raises(InvalidArgument):
        places(store, server, targets, roles)


def test_a_password_in_an_address_is_not_repeated():
    with pytest.raises(InvalidArgument) as raised:
        places(None, None, ["postgresql://ann:hunter2@db/shop"], None)
    assert "hunter2" not in str(raised.value)


@pytest.mark.long
def test_it_shows_several_targets_until_it_is_told_to_stop(shell, tmp_path):
    with shell.worker(), shell.server("--store", "sqlite:///second.db") as second:
        shell.begin("approval", "bob", id="waiting")
        shell.until("waiting", lambda state: state["status"] == "running")
        targets = (
            f"here={shell.url}",
            f"gone=sqlite:///{tmp_path}/none.db",
            f"lab=grpc://127.0.0.1:{second.wait_for('owner')['grpc_port']}",
        )
        options = [word for target in targets for word in ("--target", target)]
        with shell.ui(*options, "--role", "here=read") as ui:
            address = ui.wait_for("serving")["url"]

            async def browse():
                async with httpx.AsyncClient(base_url=address, follow_redirects=True, timeout=10) as browser:
                    home = re.sub(r"<[^>]+>|\s+", " ", (await browser.get("/")).text)
                    assert re.search(r"here\s+up\s+read", home)
                    assert re.search(r"gone\s+down\s+admin\s+there is no store at", home)
                    assert re.search(r"lab\s+up\s+admin", home)
                    page = await browser.get("/at/here/instance", params={"id": "waiting"})
                    assert "waits for the event" in page.text
                    assert f"""perdure raise --store {shell.url} waiting approved '""'""" in unescape(page.text)
                    assert (await browser.get("/at/here/instance/cancel", params={"id": "waiting"})).status_code == 403
                    assert (await browser.get("/at/lab/instances")).status_code == 200
                    assert (await browser.get("/at/gone/instances")).status_code == 503

            asyncio.run(browse())
            ui.send(signal.SIGTERM)
            assert ui.exit_code() == 0


@pytest.mark.parametrize(
    "options, told",
    [
        ((), "there is nothing to show"),
        (("--store", "sqlite:///shop.db", "--host", "0.0.0.0"), "is an address that others can reach"),
        (("--store", "sqlite:///shop.db", "--role", "boss"), "role 'boss' is none of read, operate, admin"),
    ],
)
def test_it_refuses_what_would_not_be_safe_or_meant(refused, options, told):
    assert told in refused("ui", *options, code=2)
