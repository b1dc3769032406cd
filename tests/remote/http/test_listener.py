"""Listening, and stopping while clients are there."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import logging
import signal
import socket
import ssl

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from perdure.errors import InvalidArgument, PortNotFree
from perdure.remote.http import HttpListener, http_app, listener
from tests.remote.http.desk import V1, Desk, Held, program, served


@pytest.mark.parametrize("let_go", [True, False])
def test_a_stop_lets_requests_end_and_cuts_off_those_that_do_not(run, url, let_go):
    async def scenario():
        async with program(url) as app:
            desk = Desk(app, None, Held)
            serving = HttpListener(http_app(desk), port=0, drain_seconds=60.0 if let_go else 0.2)
            await serving.start()
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{serving.port}", trust_env=False) as browser:
                waiting = asyncio.create_task(browser.post(f"{V1}/echo/start?instanceID=a", json=7))
                await desk.asked.begun.wait()
                stopping = asyncio.create_task(serving.stop())
                await _refused(serving.port)
                assert not waiting.done()
                if let_go:
                    desk.asked.let_go.set()
                await stopping
                answer = await waiting
            left = [task for task in asyncio.all_tasks() if "perdure.http" in task.get_name() or "ASGI" in repr(task)]
            return answer.status_code, answer.json(), left, [state.id async for state in app.client.list()]

    status, told, left, ids = run(scenario)
    assert left == []
    if let_go:
        assert (status, told, ids) == (202, {"instanceID": "a"}, ["a"])
    else:
        assert (status, told["errorCode"], ids) == (503, "ERR_START_WORKFLOW", [])
        assert "ask whether it was done" in told["message"]


async def _refused(port):
    """Return once nobody listens on the port."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:  # refused, or reset if it came while the port was closed
            return
        writer.close()
        await asyncio.sleep(0.01)


def test_connections_without_a_request_do_not_hold_a_stop_up(run, url):
    async def scenario():
        async with program(url) as app:
            serving = HttpListener(http_app(Desk(app, None, lambda gateway: gateway)), port=0, drain_seconds=60.0)
            await serving.start()
            silent = [await asyncio.open_connection("127.0.0.1", serving.port) for _ in range(20)]
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{serving.port}", trust_env=False) as browser:
                await browser.get("/v1.0/healthz")
                await serving.stop()
            ended = [await reader.read() for reader, _ in silent]
            for _, writer in silent:
                writer.close()
            await serving.stop()  # a second one has nothing to do
            return ended

    assert run(scenario) == [b""] * 20


def test_a_port_that_cannot_be_had_is_said(run, url):
    async def scenario():
        async with program(url) as app:
            served_app = http_app(Desk(app, None, lambda gateway: gateway))
            with socket.create_server(("127.0.0.1", 0)) as other:
                taken = HttpListener(served_app, port=other.getsockname()[1])
                with pytest.raises(PortNotFree, match="give another port or host"):
                    await taken.start()
            with pytest.raises(PortNotFree, match="give another port or host"):
                await HttpListener(served_app, host="256.256.256.256", port=0).start()
            with pytest.raises(InvalidArgument, match="port is 70000"):
                await HttpListener(served_app, port=70_000).start()

    run(scenario)


def test_an_address_is_given_back_if_another_of_the_name_cannot_be_had(run, url, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    both = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port)) for host in ("127.0.0.1", "256.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)

    async def scenario():
        async with program(url) as app:
            serving = HttpListener(http_app(Desk(app, None, lambda gateway: gateway)), host="two", port=port)
            with pytest.raises(PortNotFree) as refused:
                await serving.start()
            with socket.socket() as again:
                again.bind(("127.0.0.1", port))
            return str(refused.value)

    assert "of two cannot be listened on" in run(scenario)


def test_every_address_of_a_name_is_listened_on(run, url):
    async def scenario():
        async with program(url) as app:
            desk = Desk(app, None, lambda gateway: gateway)
            async with HttpListener(http_app(desk), host="localhost", port=0) as serving:
                found = await asyncio.get_running_loop().getaddrinfo("localhost", None, type=socket.SOCK_STREAM)
                hosts = {address[0] for *_, address in found}
                seen = []
                async with httpx.AsyncClient(trust_env=False) as browser:
                    for host in hosts:
                        shown = f"[{host}]" if ":" in host else host
                        seen.append((await browser.get(f"http://{shown}:{serving.port}/v1.0/healthz")).status_code)
                return seen, repr(serving)

    seen, shown = run(scenario)
    assert set(seen) == {204}
    assert shown.endswith(": serving>")


def test_signals_and_logging_are_left_as_they_are(run, url):
    def settings():
        loggers = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
        found = [logging.getLogger(name) for name in loggers]
        return (
            [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
            [(one.level, one.handlers, one.propagate, one.disabled) for one in found],
            logging.getLevelName(5),
            logging.getLogger().handlers,
        )

    async def scenario():
        async with served(url) as (browser, _):
            await browser.get("/v1.0/healthz")
            return settings()[1:]

    before = settings()
    during = run(scenario)
    assert during == before[1:]  # signals apart, because asyncio.run has a handler of its own meanwhile
    assert settings() == before


def test_signals_that_the_program_handles_stay_its_own(run, url):
    heard = []

    async def scenario():
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, heard.append, "term")
        async with served(url) as (browser, _):
            signal.raise_signal(signal.SIGTERM)
            status = (await browser.get("/v1.0/healthz")).status_code
        loop.remove_signal_handler(signal.SIGTERM)
        return status

    assert run(scenario) == 204
    assert heard == ["term"]


def test_more_connections_than_the_bound_are_turned_away(run, url, monkeypatch):
    monkeypatch.setattr(listener, "CONNECTIONS_MAX", 3)

    async def scenario():
        async with served(url) as (browser, _):
            silent = [await asyncio.open_connection("127.0.0.1", browser.base_url.port) for _ in range(3)]
            beyond = (await browser.get("/v1.0/metadata")).status_code
            for _, writer in silent:
                writer.close()

            while (await browser.get("/v1.0/metadata", headers={"connection": "close"})).status_code != 200:
                await asyncio.sleep(0.01)
            return beyond

    assert run(scenario) == 503


def test_with_tls_it_is_https(run, url, tmp_path):
    certificate, key = _certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    trust = ssl.create_default_context(cafile=str(certificate))

    async def scenario():
        async with program(url) as app:
            desk = Desk(app, None, lambda gateway: gateway)
            async with HttpListener(http_app(desk), port=0, tls=context) as serving:
                async with httpx.AsyncClient(verify=trust, trust_env=False) as browser:
                    secure = (await browser.get(f"https://127.0.0.1:{serving.port}/v1.0/healthz")).status_code
                    with pytest.raises(httpx.TransportError):
                        await browser.get(f"http://127.0.0.1:{serving.port}/v1.0/healthz")
                return secure

    assert run(scenario) == 204


def _certificate(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "desk")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths
