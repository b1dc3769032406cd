"""How an App and a Client come to a server, and what they are told when they do not."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from perdure import App, Client, wait_for_event
from perdure.codec import NOTHING
from perdure.errors import (
    CertificateNotUsable,
    InvalidArgument,
    NotAuthenticated,
    NotPermitted,
    ServerUnavailable,
)
from perdure.history.work import StartOptions
from perdure.remote.native.channel import Channel
from perdure.remote.native.gateway import RemoteGateway
from perdure.remote.native.stream import PAUSE_SECONDS_MAX, pause
from perdure.remote.native.target import target_of
from perdure.remote.security import Token
from perdure.remote.settings import Tls
from tests.remote.native.serving import Served, served


def shop(url: str | None = None) -> App:
    app = App("shop", server=url) if url is not None else App("shop")

    @app.workflow
    async def waits() -> str:
        return await wait_for_event("go", str)

    return app


def play(scenario: Any, store: str, **settings: Any) -> None:
    async def within() -> None:
        async with asyncio.timeout(30), served(store, **settings) as there:
            await scenario(there)

    asyncio.run(within())


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/app.db"


def test_a_token_opens_the_server(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(there: Served) -> None:
        for wrong in (None, "wrong"):
            monkeypatch.delenv("PERDURE_API_TOKEN", raising=False)
            if wrong is not None:
                monkeypatch.setenv("PERDURE_API_TOKEN", wrong)
            with pytest.raises(NotAuthenticated):
                await shop(there.url).open()
            with pytest.raises(NotAuthenticated):
                await Client(there.url).__aenter__()
        monkeypatch.setenv("PERDURE_API_TOKEN", "right")
        async with shop(there.url) as app:
            assert app.is_owner

    monkeypatch.delenv("DAPR_API_TOKEN", raising=False)
    play(scenario, store, api_token=Token("right"))


def certified(folder: Path) -> Tls:
    """Files of a certificate for 127.0.0.1 that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), 1, now - timedelta(hours=1), now + timedelta(days=1)
    )
    certificate = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "server.crt").write_bytes(certificate.public_bytes(pem))
    (folder / "server.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return Tls(cert=folder / "server.crt", key=folder / "server.key")


@pytest.mark.parametrize("is_mutual", [False, True])
def test_certificates_open_the_server(
    is_mutual: bool, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = certified(tmp_path)

    async def scenario(there: Served) -> None:
        monkeypatch.setenv("PERDURE_TLS_CA", str(tls.cert))
        if is_mutual:
            monkeypatch.setenv("PERDURE_TLS_CERT", str(tls.cert))
            monkeypatch.setenv("PERDURE_TLS_KEY", str(tls.key))
        async with shop(there.url.replace("grpc://", "grpcs://")) as app:
            handle = await app.client.workflow("waits").start()
            await handle.raise_event("go", "on")
            assert await handle.result() == "on"

    given = msgspec.structs.replace(tls, client_ca=tls.cert) if is_mutual else tls
    play(scenario, store, tls=given)


def test_an_address_that_takes_tls_for_plain_or_the_other_way_round_is_said_at_once(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = certified(tmp_path)
    monkeypatch.setenv("PERDURE_TLS_CA", str(tls.cert))

    async def to_tls(there: Served) -> None:
        encrypted = there.url.replace("grpc://", "grpcs://")
        with pytest.raises(InvalidArgument, match=f"speaks TLS; its address is {encrypted}"):
            await Client(there.url).__aenter__()

    async def to_plain(there: Served) -> None:
        with pytest.raises(InvalidArgument, match=f"does not speak TLS; its address is {there.url}"):
            await shop(there.url.replace("grpc://", "grpcs://")).open()

    play(to_tls, store, tls=tls)
    play(to_plain, store)


def test_a_certificate_that_cannot_be_read_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_TLS_CA", "/nowhere/ca.pem")
    with pytest.raises(CertificateNotUsable, match="nowhere"):
        asyncio.run(shop("grpcs://127.0.0.1:1").open())


def test_a_server_serves_its_own_app(store: str) -> None:
    async def scenario(there: Served) -> None:
        with pytest.raises(NotPermitted):
            await App("other", server=there.url).open()
        async with Client(there.url) as client:
            assert [each async for each in client.list()] == []

    play(scenario, store)


def test_a_client_hears_errors_as_in_process(store: str) -> None:
    async def scenario(there: Served) -> None:
        async with Client(there.url, app_id="shop") as client:
            with pytest.raises(LookupError) as caught:
                await client.get("nobody").state()
            assert caught.value.instance_id == "nobody"  # type: ignore[attr-defined]
            with pytest.raises(InvalidArgument):
                await client.sweep()

    play(scenario, store)


def test_an_app_opens_again_after_it_was_closed(store: str) -> None:
    async def scenario(there: Served) -> None:
        app = shop()
        for _ in range(2):
            await app.open(server=there.url)
            assert app.server == there.url
            handle = await app.client.workflow("waits").start()
            await handle.raise_event("go", "on")
            assert await handle.result() == "on"
            await app.close()
        assert app.server is None

    play(scenario, store)


@pytest.mark.long
def test_a_hundred_short_connections_lose_nothing(store: str) -> None:
    async def scenario(there: Served) -> None:
        async with Client(there.url) as client:
            handles = [await client.workflow("waits").with_options(id=f"w-{n}").start() for n in range(10)]
            for number in range(30):
                async with shop(there.url):
                    await handles[number % 10].raise_event("go", "on")
            async with shop(there.url):
                assert [await handle.result() for handle in handles] == ["on"] * 10

    play(scenario, store)


def test_a_start_whose_answer_is_lost_is_one_start(store: str) -> None:
    class Cut(Channel):
        """Loses the first answer, after the server has given it."""

        lost = 0

        async def send(self, path: str, data: bytes, timeout: float | None = None) -> bytes:
            answer = await super().send(path, data, timeout)
            if path.endswith("/start") and not self.lost:
                self.lost += 1
                raise ServerUnavailable("the line is cut")
            return answer

    async def scenario(there: Served) -> None:
        channel = Cut(target_of(there.url, {}), "shop")
        gateway = RemoteGateway(channel)
        id, execution = await gateway.start("waits", NOTHING, StartOptions())
        assert channel.lost == 1
        assert (await gateway.state(id, execution)).name == "waits"
        async with Client(there.url) as client:
            assert [state.id async for state in client.list()] == [id]
        channel.lost = 0
        with pytest.raises(ServerUnavailable):
            await gateway.start("waits", NOTHING, StartOptions(id="mine"))
        await channel.close()

    play(scenario, store)


def test_an_app_has_a_store_or_a_server() -> None:
    with pytest.raises(InvalidArgument, match="store or a server"):
        App("shop", store="memory:", server="grpc://127.0.0.1:1")
    with pytest.raises(InvalidArgument, match="store or a server"):
        asyncio.run(shop().open(store="memory:", server="grpc://127.0.0.1:1"))


@pytest.mark.parametrize(
    "url, address, is_encrypted",
    [
        ("grpc://host:7", "host:7", False),
        ("host:7", "host:7", False),
        ("grpcs://host", "host:50001", True),
        ("grpc://[::1]:7", "[::1]:7", False),
    ],
)
def test_an_address_is_read(url: str, address: str, is_encrypted: bool) -> None:
    target = target_of(url, {"DAPR_API_TOKEN": "secret"})
    assert (target.address, target.is_encrypted) == (address, is_encrypted)
    assert target.token is not None
    assert "secret" not in repr(target)


@pytest.mark.parametrize(
    "url", ["", "http://host:7", "grpc://", "grpc://host:99999", "grpc://host:7/path", "grpc://host:x"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument, match="grpc://"):
        target_of(url, {})


def test_pauses_between_tries_grow_to_their_bound() -> None:
    pauses = [pause(tries, 0.0) for tries in range(30)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == PAUSE_SECONDS_MAX
    assert pause(5, 0.999) > pause(5, 0.0) / 2
