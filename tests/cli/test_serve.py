"""The server process: what it refuses before it begins, who may call it, how it ends and what it leaves."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import grpc
import pytest

from tests.cli.certificates import Authority

SECONDS = 10
START = b"\x0a\x01i\x12\x04wait"  # instance 1: "i", name 2: "wait"


@contextmanager
def channel(server, credentials=None):
    port = server.wait_for("owner")["grpc_port"]
    if credentials is None:
        made = grpc.insecure_channel(f"127.0.0.1:{port}")
    else:
        made = grpc.secure_channel(f"127.0.0.1:{port}", credentials)
    with made:
        yield made


def call(through, name, data=b"", **metadata):
    pairs = [(key.replace("_", "-"), value) for key, value in metadata.items()]
    return through.unary_unary(name)(data, timeout=SECONDS, metadata=pairs)


def hello(through, **metadata):
    return call(through, "/TaskHubSidecarService/Hello", **metadata)


def status(through, **metadata):
    with pytest.raises(grpc.RpcError) as refused:
        hello(through, **metadata)
    return refused.value.code()


@contextmanager
def item_in_hand(server):
    """A worker that has taken a turn and does not answer it."""
    with channel(server) as through:
        stream = through.unary_stream("/TaskHubSidecarService/GetWorkItems")(b"")
        call(through, "/TaskHubSidecarService/StartInstance", START)
        assert b"wait" in next(stream)
        yield
        stream.cancel()


def test_it_serves_both_protocols_until_it_is_told_to_stop(shell):
    with shell.server() as server:
        told = server.wait_for("owner")
        assert (told["app"], told["pid"]) == ("shop", server.pid)
        assert told["text"] == (
            f"serves shop on grpc 127.0.0.1:{told['grpc_port']}, http 127.0.0.1:{told['http_port']}"
        )
        with channel(server) as through:
            assert hello(through) == b""
        with urllib.request.urlopen(f"http://127.0.0.1:{told['http_port']}/v1.0/healthz", timeout=SECONDS) as answer:
            assert answer.status == 204
        server.send(signal.SIGTERM)
        server.wait_for("stopped")
        assert server.exit_code() == 0
        assert [state["state"] for state in server.states] == ["owner", "draining", "stopped"]


@pytest.mark.long
def test_without_http(shell):
    with shell.server("--no-http") as server:
        assert server.wait_for("owner")["http_port"] is None
        with channel(server) as through:
            assert hello(through) == b""


@pytest.mark.long
def test_standby_names_the_owner_and_takes_over(shell):
    with shell.server() as owner, shell.server(until="standby") as standby:
        assert str(owner.pid) in standby.wait_for("standby")["text"]
        owner.send(signal.SIGKILL)
        with channel(standby) as through:
            assert hello(through) == b""


@pytest.mark.long
@pytest.mark.parametrize("name", ["/dapr.proto.runtime.v1.Dapr/Shutdown", "http"])
def test_a_caller_may_ask_it_to_stop(shell, name):
    with shell.server() as server:
        if name == "http":
            url = f"http://127.0.0.1:{server.wait_for('owner')['http_port']}/v1.0/shutdown"
            with urllib.request.urlopen(url, b"", timeout=SECONDS) as answer:
                assert answer.status == 204
        else:
            with channel(server) as through:
                call(through, name)
        assert server.exit_code() == 0


@pytest.mark.long
def test_a_drain_that_is_over_cuts_and_the_work_is_there_again_after_a_restart(shell):
    with shell.server("--drain-seconds", "0.3") as server, item_in_hand(server):
        asked = time.monotonic()
        server.send(signal.SIGTERM)
        assert server.exit_code() == 0
        assert time.monotonic() - asked >= 0.3
    with shell.server() as server, channel(server) as through:
        stream = through.unary_stream("/TaskHubSidecarService/GetWorkItems")(b"", timeout=SECONDS)
        assert b"wait" in next(stream)
        stream.cancel()


@pytest.mark.long
def test_a_second_signal_ends_it_at_once(shell):
    with shell.server("--drain-seconds", "600") as server, item_in_hand(server):
        server.send(signal.SIGTERM)
        server.wait_for("draining")
        server.send(signal.SIGTERM)
        assert server.exit_code() == -signal.SIGTERM


@pytest.mark.long
def test_a_token_in_a_file_is_asked_for(shell):
    (shell.folder / "token").write_text("own\n")
    (shell.folder / "all").write_text("every\n")
    files = ("--api-token-file", "token", "--all-apps-token-file", "all")
    with shell.server(*files) as server, channel(server) as through:
        assert status(through) == grpc.StatusCode.UNAUTHENTICATED
        assert status(through, dapr_api_token="wrong") == grpc.StatusCode.UNAUTHENTICATED
        assert hello(through, dapr_api_token="own") == b""
        assert hello(through, authorization="Bearer own") == b""
        assert status(through, dapr_api_token="own", dapr_app_id="b") == grpc.StatusCode.PERMISSION_DENIED
        assert hello(through, dapr_api_token="every", dapr_app_id="b") == b""
        url = f"http://127.0.0.1:{server.wait_for('owner')['http_port']}/v1.0/metadata"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(url, timeout=SECONDS)
        with urllib.request.urlopen(
            urllib.request.Request(url, headers={"dapr-api-token": "own"}), timeout=SECONDS
        ) as answer:
            assert json.load(answer)["id"] == "shop"


@pytest.mark.long
@pytest.mark.parametrize("variable", ["DAPR_API_TOKEN", "PERDURE_API_TOKEN"])
def test_a_token_in_a_variable_is_asked_for(shell, variable):
    shell.environment[variable] = "own"
    with shell.server() as server, channel(server) as through:
        assert status(through) == grpc.StatusCode.UNAUTHENTICATED
        assert hello(through, dapr_api_token="own") == b""


@pytest.mark.long
def test_tls_on_a_public_address(shell):
    authority = Authority(shell.folder)
    certificate = authority.signed("server")
    (shell.folder / "token").write_text("own")
    options = ("--host", "0.0.0.0", "--api-token-file", "token", *certificate.options)
    with shell.server(*options) as server:
        with channel(server, grpc.ssl_channel_credentials(authority.pem)) as through:
            assert hello(through, dapr_api_token="own") == b""
            assert status(through) == grpc.StatusCode.UNAUTHENTICATED
        with channel(server) as through:
            assert status(through, dapr_api_token="own") == grpc.StatusCode.UNAVAILABLE


@pytest.mark.long
def test_callers_without_a_certificate_are_refused_where_one_is_asked_for(shell):
    authority = Authority(shell.folder)
    certificate, caller = authority.signed("server"), authority.signed("caller")
    options = ("--host", "0.0.0.0", "--client-ca", str(authority.file), *certificate.options)
    with shell.server(*options) as server:
        known = grpc.ssl_channel_credentials(authority.pem, caller.key.read_bytes(), caller.cert.read_bytes())
        with channel(server, known) as through:
            assert hello(through) == b""
        with channel(server, grpc.ssl_channel_credentials(authority.pem)) as through:
            assert status(through) == grpc.StatusCode.UNAVAILABLE


@pytest.mark.long
def test_a_public_address_without_either_if_a_flag_says_so(shell):
    with shell.server("--host", "0.0.0.0", "--allow-insecure-public") as server, channel(server) as through:
        assert hello(through) == b""


@pytest.mark.parametrize(
    "arguments, code, told",
    [
        ((), 2, "no app is named; give --app-id NAME, or set APP_ID [PERDURE-1001]"),
        (("--app-id", "a\n"), 2, "app id 'a\\n' must be 1 to 256 printable characters"),
        (("--app-id", "a", "--grpc-port", "65536"), 2, "port 65536 is none"),
        (("--app-id", "a", "--drain-seconds", "-1"), 2, "drain seconds are -1.0"),
        (("--app-id", "a", "--store", "bogus:"), 2, "store 'bogus:': the address begins with"),
        (
            ("--app-id", "a", "--host", "0.0.0.0"),
            2,
            "'0.0.0.0' is an address that others can reach, and the server has no",
        ),
        (("--app-id", "a", "--tls-cert", "x"), 2, "TLS takes two files, --tls-cert and --tls-key"),
        (("--app-id", "a", "--client-ca", "x"), 2, "TLS takes two files, --tls-cert and --tls-key"),
        (("--app-id", "a", "--tls-cert", "x", "--tls-key", "y"), 2, "x cannot be read: No such file or directory"),
        (("--app-id", "a", "--api-token-file", "x"), 2, "the token in x cannot be read"),
        (("--app-id", "a", "--all-apps-token-file", "x"), 2, "the token in x cannot be read"),
    ],
)
def test_options_that_do_not_fit_end_it_before_it_begins(shell, refused, arguments, code, told):
    assert told in refused("serve", "--grpc-port", "0", "--http-port", "0", *arguments, code=code)
    assert not list(shell.folder.glob("*.db"))


def test_a_token_on_the_command_line_is_no_option(shell):
    assert "No such option" in shell.run("serve", "--app-id", "a", "--api-token", "secret", code=2).stderr


def test_a_token_in_a_variable_that_cannot_be_one_is_not_repeated(refused, monkeypatch):
    monkeypatch.setenv("DAPR_API_TOKEN", "two words")
    sentence = refused("serve", "--app-id", "a", code=2)
    assert "printable ASCII characters without blanks" in sentence
    assert "two words" not in sentence


def test_a_port_in_use_is_not_reachable(shell):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        sentence = shell.error("serve", "--app-id", "a", "--grpc-port", port, "--http-port", "0", code=3)
        assert sentence.endswith("choose another with --grpc-port (0: a free one) [PERDURE-1701]")


def test_without_the_extra_one_sentence_says_what_to_install(shell):
    hide = "import sys; sys.modules['grpc'] = None; from perdure.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", hide, "serve", "--app-id", "a", "--grpc-port", "0", "--http-port", "0"],
        cwd=shell.folder,
        env=shell.environment,
        capture_output=True,
        text=True,
        timeout=SECONDS * 2,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert 'a server needs grpc, which is not installed: pip install "perdure[cli,server]"' in done.stderr
