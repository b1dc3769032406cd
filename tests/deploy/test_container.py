"""The Containerfile, and how a container tells that it is alive."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.certificates import Authority
from tests.deploy.node import free_ports, started
from tests.deploy.places import DEPLOY, of_the_page

CHECK = DEPLOY / "healthcheck.py"
FILES = [DEPLOY / "Containerfile", DEPLOY / "Containerfile.app"]
EACH = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def checked(variables: dict[str, str]) -> int:
    names = ("DAPR_HTTP_PORT", "PERDURE_TLS_CERT", "PERDURE_TLS_KEY", "PERDURE_CLIENT_CA")
    inherited = {name: value for name, value in os.environ.items() if name not in names}
    # a proxy of the machine must not be asked for what runs in this container
    given = {**inherited, "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", **variables}
    return subprocess.run([sys.executable, CHECK], env=given, capture_output=True, timeout=20, check=False).returncode


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    grpc, http = free_ports(2)
    return {
        "PERDURE_STORE": f"sqlite:///{tmp_path}/shop.db",
        "APP_ID": "shop",
        "DAPR_GRPC_PORT": str(grpc),
        "DAPR_HTTP_PORT": str(http),
    }


@pytest.mark.deploy
def test_a_server_is_alive_also_while_it_stands_by_and_no_more_when_it_hangs(tmp_path, variables):
    grpc, http = free_ports(2)
    beside = {**variables, "DAPR_GRPC_PORT": str(grpc), "DAPR_HTTP_PORT": str(http)}
    with started(["serve", "--json"], variables, tmp_path) as owner:
        owner.wait_for("owner")
        with started(["serve", "--json"], beside, tmp_path) as standby:
            standby.wait_for("standby")
            assert (checked(variables), checked(beside)) == (0, 0)
            standby.process.send_signal(signal.SIGSTOP)
            assert checked(beside) == 1
        assert owner.stop() == 0
    assert checked(variables) == 1


@pytest.mark.deploy
@pytest.mark.parametrize("asks_for_certificates", [False, True])
def test_it_is_asked_over_tls_where_that_is_what_it_speaks(tmp_path, variables, asks_for_certificates):
    authority = Authority(tmp_path)
    certificate = authority.signed("server")
    secure = {**variables, "PERDURE_TLS_CERT": str(certificate.cert), "PERDURE_TLS_KEY": str(certificate.key)}
    if asks_for_certificates:
        secure["PERDURE_CLIENT_CA"] = str(authority.file)
    with started(["serve", "--json"], secure, tmp_path) as node:
        node.wait_for("owner")
        assert checked(secure) == 0
        assert checked(variables) == 1
        assert node.stop() == 0
    assert checked(secure) == 1


@pytest.mark.deploy
def test_with_the_variables_of_the_page_it_serves_others_and_is_healthy(tmp_path, variables):
    certificate = Authority(tmp_path).signed("server")
    certificate.cert.rename(tmp_path / "tls.crt")
    certificate.key.rename(tmp_path / "tls.key")
    told = of_the_page("sh", "PERDURE_HOST=").replace("/run/secrets/perdure", str(tmp_path)).split()
    given = {**dict(line.split("=", 1) for line in told), "PERDURE_API_TOKEN": "own", **variables}
    with started(["serve", "--json"], given, tmp_path) as node:
        assert "0.0.0.0" in node.wait_for("owner")["text"]
        assert checked(given) == 0
        assert node.stop() == 0


def parsed(file: Path) -> list:
    import dockerfile

    return list(dockerfile.parse_file(str(file)))


def last(commands: list, name: str):
    return [command for command in commands if command.cmd.upper() == name][-1]


@pytest.mark.deploy
@EACH
def test_the_linter_finds_nothing(file):
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, file], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.deploy
@EACH
def test_it_runs_as_a_user_who_is_not_root_and_is_named_by_number(file):
    (user,) = last(parsed(file), "USER").value
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


@pytest.mark.deploy
def test_the_image_starts_the_server_and_asks_it_how_it_is():
    commands = parsed(DEPLOY / "Containerfile")
    assert last(commands, "ENTRYPOINT").value + last(commands, "CMD").value == ("perdure", "serve")
    assert last(commands, "STOPSIGNAL").value == ("SIGTERM",)
    assert last(commands, "HEALTHCHECK").value == ("CMD", "python", "/opt/perdure/healthcheck.py")
    copies = [command.value for command in commands if command.cmd.upper() == "COPY"]
    assert ("deploy/healthcheck.py", "/opt/perdure/healthcheck.py") in copies
    assert all((DEPLOY.parent / source).exists() for *sources, _ in copies for source in sources if source[0] != "/")


@pytest.mark.deploy
@EACH
def test_images_are_named_without_a_host(file):
    text = json.dumps([command.original for command in parsed(file)])
    assert not re.search(r"FROM [\w-]+\.[\w.-]+/", text)
