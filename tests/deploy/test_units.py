"""Units of systemd: what they start is what there is, and they give it the time that it needs to drain."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from perdure.cli.serving import CUT_SECONDS
from tests.cli.certificates import Authority
from tests.deploy.node import free_ports, started
from tests.deploy.places import UNITS
from tests.deploy.unit import Unit, resolved, variables_of

SERVER = UNITS / "perdure@.service"
WORKER = UNITS / "perdure-worker@.service"
BOTH = pytest.mark.parametrize("file", [SERVER, WORKER], ids=lambda file: file.name)
EXPOSURE_MAX = 20
"""Tenths of systemd's measure of how much a service may do: 100 is a service without any restriction."""
PROGRAM = """
from perdure import App
app = App("shop")
"""


@pytest.fixture
def variables(tmp_path):
    """Those of the example, with free ports and a store of the test's own."""
    grpc, http = free_ports(2)
    example = variables_of(UNITS / "shop.env.example")
    assert example["PERDURE_STORE"].startswith("postgresql://")
    return {
        **example,
        "PERDURE_STORE": f"sqlite:///{tmp_path}/shop.db",
        "DAPR_GRPC_PORT": str(grpc),
        "DAPR_HTTP_PORT": str(http),
    }


def test_the_server_that_the_unit_starts_serves_and_drains(tmp_path, variables):
    (tmp_path / "token").write_text("own")
    program, *arguments = Unit(SERVER).command({"i": "shop", "d": str(tmp_path)}, variables)
    assert program == "/opt/perdure/bin/perdure"
    with started(arguments, variables, tmp_path) as node:
        told = node.wait_for("owner")
        assert (told["app"], str(told["grpc_port"])) == ("shop", variables["DAPR_GRPC_PORT"])
        assert node.stop() == 0
        assert [state["state"] for state in node.states] == ["owner"]


@pytest.mark.long
def test_with_the_drop_in_other_machines_reach_it(tmp_path, variables):
    """The server itself refuses to listen there without the certificate and the token."""
    certificate = Authority(tmp_path).signed("server")
    specifiers = {"i": "shop", "d": str(tmp_path)}
    (tmp_path / "token").write_text("own")
    certificate.cert.rename(tmp_path / "tls.crt")
    certificate.key.rename(tmp_path / "tls.key")
    public = Unit(UNITS / "public.conf")
    names = [resolved(each, specifiers).split(":")[0] for each in public.all("Service", "LoadCredential")]
    assert [(tmp_path / name).is_file() for name in names] == [True, True]
    added = [resolved(each, specifiers).split("=", 1) for each in public.all("Service", "Environment")]
    assert dict(added)["PERDURE_HOST"] == "0.0.0.0"
    _, *arguments = Unit(SERVER).command(specifiers, variables)
    with started(arguments, {**variables, **dict(added)}, tmp_path) as node:
        assert "0.0.0.0" in node.wait_for("owner")["text"]
        assert node.stop() == 0


@pytest.mark.long
def test_the_worker_that_the_unit_starts_runs_the_app_of_the_example(tmp_path, variables):
    (tmp_path / "shop.py").write_text(PROGRAM)
    program, *arguments = Unit(WORKER).command({"i": "shop"}, variables)
    assert program == "/opt/shop/venv/bin/perdure"
    with started(arguments, variables, tmp_path) as node:
        assert node.wait_for("owner")["app"] == "shop"
        assert node.stop() == 0


def test_options_that_do_not_fit_are_not_tried_again(tmp_path, variables):
    (tmp_path / "token").write_text("own")
    unit = Unit(SERVER)
    _, *arguments = unit.command({"i": "shop", "d": str(tmp_path)}, {**variables, "PERDURE_ARGS": "--host 0.0.0.0"})
    with started(arguments, variables, tmp_path) as node:
        code = node.process.wait(20)
    assert code == int(unit.one("Service", "RestartPreventExitStatus"))


def test_systemd_waits_until_a_server_has_drained_and_cut():
    unit = Unit(SERVER)
    (told,) = [word for word in unit.command({"i": "", "d": ""}, {}) if word.startswith("--drain-seconds=")]
    drain = float(told.partition("=")[2])
    assert float(unit.one("Service", "TimeoutStopSec")) > drain + CUT_SECONDS


@BOTH
def test_a_node_begins_after_its_store_and_never_gives_up(file):
    unit = Unit(file)
    after = " ".join(unit.all("Unit", "After")).split()
    assert {"network-online.target", "postgresql.service", "mariadb.service", "redis-server.service"} <= set(after)
    assert unit.one("Unit", "Wants") == "network-online.target"
    assert (unit.one("Service", "Restart"), unit.one("Unit", "StartLimitIntervalSec")) == ("always", "0")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine's files as far as systemd looks at them: its own units, ours, and programs to start."""
    shutil.copytree("/usr/lib/systemd", tmp_path / "usr/lib/systemd", symlinks=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    for file in (SERVER, WORKER):
        shutil.copy(file, units)
    drop_ins = units / "perdure@shop.service.d"
    drop_ins.mkdir()
    shutil.copy(UNITS / "public.conf", drop_ins)
    for program in ("opt/perdure/bin/perdure", "opt/shop/venv/bin/perdure"):
        (tmp_path / program).parent.mkdir(parents=True)
        shutil.copy(sys.executable, tmp_path / program)
    return tmp_path


def verified(root: Path, name: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", f"--root={root}", "verify", name]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.deploy
@pytest.mark.parametrize("name", ["perdure@shop.service", "perdure-worker@shop.service"])
def test_systemd_finds_no_fault(root, name):
    done = verified(root, name)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.deploy
@pytest.mark.parametrize("setting, told", [("PrivateTemp=yes", "'PrivateTemp'"), ("KillMode=gentle", "kill mode")])
def test_systemd_would_find_one(root, setting, told):
    drop_in = root / "etc/systemd/system/perdure@shop.service.d/public.conf"
    drop_in.write_text(drop_in.read_text() + f"{setting}\n")
    assert told in verified(root, "perdure@shop.service").stderr


@pytest.mark.deploy
def test_systemd_would_miss_a_program(root):
    (root / "opt/perdure/bin/perdure").unlink()
    done = verified(root, "perdure@shop.service")
    assert done.returncode != 0
    assert "/opt/perdure/bin/perdure" in done.stderr


@pytest.mark.deploy
@BOTH
def test_a_node_may_do_little_else(file):
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
