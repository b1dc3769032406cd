"""What a server is told, and what it refuses to be told."""

import os
import socket
import ssl
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from perdure.errors import CertificateNotUsable, InvalidArgument, NotSecure, PortNotFree
from perdure.remote import settings as module
from perdure.remote.security import Policy, Token
from perdure.remote.settings import Listener, ServerSettings, Tls, check_listening, find_token, is_loopback

FREE = Listener(app_id="shop", grpc_port=0, http_port=0)
LOCAL = ServerSettings(listeners=(FREE,), store="memory:")


def changed(**values):
    return msgspec.structs.replace(LOCAL, **values)


def pair(folder, name, password=None):
    """The files of a certificate that signs itself, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, now, now + timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    files = folder / f"{name}.crt", folder / f"{name}.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock),
    )
    return files


@pytest.fixture
def certificate(tmp_path):
    cert, key = pair(tmp_path, "server")
    return Tls(cert=cert, key=key)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_addresses_that_only_this_machine_reaches(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "2001:db8::1", "example.com", "localhost.example.com", "*", "0"]
)
def test_addresses_that_others_reach(host):
    assert not is_loopback(host)
    with pytest.raises(NotSecure, match=r"has no TLS .* and no token"):
        module.check_address(changed(host=host))
    module.check_address(changed(host=host, insecure_public=True))


def test_a_public_address_needs_both_encryption_and_known_callers(certificate):
    token = Token("secret")
    mutual = msgspec.structs.replace(certificate, client_ca=certificate.cert)
    public = {"host": "0.0.0.0"}
    for enough in ({"tls": certificate, "api_token": token}, {"tls": mutual}):
        check_listening(changed(**public, **enough))
    with pytest.raises(NotSecure, match=r"has no TLS \(--tls-cert, --tls-key\); add"):
        check_listening(changed(**public, api_token=token))
    with pytest.raises(NotSecure, match=r"has no token \(--api-token-file\) and no client certificates"):
        check_listening(changed(**public, tls=certificate))
    with pytest.raises(NotSecure, match="has no token"):
        check_listening(changed(**public, tls=certificate, all_apps_token=token))


def test_a_loopback_address_needs_nothing():
    check_listening(LOCAL)


def test_files_of_one_pair_are_taken(certificate):
    check_listening(changed(tls=certificate))


def test_callers_show_a_certificate_if_an_authority_is_named(certificate):
    assert module.server_context(certificate).verify_mode == ssl.CERT_NONE
    mutual = msgspec.structs.replace(certificate, client_ca=certificate.cert)
    context = module.server_context(mutual)
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.cert_store_stats()["x509"] == 1  # this authority, and none that the system trusts besides


def test_a_key_of_another_certificate_is_refused(tmp_path, certificate):
    _, other = pair(tmp_path, "other")
    with pytest.raises(CertificateNotUsable, match=r"other\.key is not that of the certificate in .*server\.crt"):
        check_listening(changed(tls=msgspec.structs.replace(certificate, key=other)))


def test_a_file_that_is_not_there_is_named(tmp_path, certificate):
    for field in ("cert", "key", "client_ca"):
        missing = msgspec.structs.replace(certificate, **{field: tmp_path / "missing"})
        with pytest.raises(CertificateNotUsable, match=r"missing cannot be read: No such file or directory"):
            check_listening(changed(tls=missing))


def test_a_file_that_holds_something_else_is_named(tmp_path, certificate):
    noise = tmp_path / "noise"
    noise.write_text("noise")
    for field, told in (("cert", "do not hold a certificate and its key"), ("client_ca", "noise holds no certificate")):
        with pytest.raises(CertificateNotUsable, match=told):
            check_listening(changed(tls=msgspec.structs.replace(certificate, **{field: noise})))


def test_an_encrypted_key_is_refused_without_asking_anybody(tmp_path):
    cert, key = pair(tmp_path, "locked", b"password")
    with pytest.raises(CertificateNotUsable, match=r"locked\.key is encrypted"):
        check_listening(changed(tls=Tls(cert=cert, key=key)))


@pytest.mark.parametrize("field, option", [("grpc_port", "--grpc-port"), ("http_port", "--http-port")])
@pytest.mark.parametrize("shares", [False, True])
def test_a_port_in_use_is_refused_although_its_holder_would_share_it(field, option, shares):
    with socket.socket() as holder:
        if shares:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        taken = changed(listeners=(msgspec.structs.replace(FREE, **{field: port}),))
        with pytest.raises(PortNotFree, match=rf"port {port} of 127\.0\.0\.1 is in use; .* {option} "):
            check_listening(taken)
    check_listening(taken)


def test_a_port_is_still_free_after_it_was_looked_at():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = changed(listeners=(Listener(app_id="shop", grpc_port=port, http_port=None),))
    check_listening(settings)
    check_listening(settings)


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host.invalid"])
def test_a_host_that_is_no_address_of_this_machine(host):
    with pytest.raises(InvalidArgument, match=r"is no address.*127\.0\.0\.1"):
        check_listening(changed(host=host, insecure_public=True))


@pytest.mark.parametrize(
    "values, told",
    [
        ({"listeners": ()}, "at least one app"),
        ({"listeners": (Listener(app_id=""),)}, "app id"),
        ({"listeners": (Listener(app_id="a\n"),)}, "app id"),
        ({"listeners": (FREE, FREE)}, "app id 'shop' is given 2 times"),
        ({"listeners": (Listener(app_id="a", grpc_port=7, http_port=7),)}, "port '7' is given 2 times"),
        ({"listeners": (Listener(app_id="a", grpc_port=65_536),)}, "port 65536 is none"),
        ({"listeners": (Listener(app_id="a", http_port=-1),)}, "port -1 is none"),
        ({"host": ""}, "host is empty"),
        ({"drain_seconds": -1.0}, "drain seconds"),
        ({"drain_seconds": float("inf")}, "drain seconds"),
        ({"drain_seconds": float("nan")}, "drain seconds"),
        ({"message_bytes_max": 0}, "message_bytes_max is 0"),
        ({"calls_max": 0}, "calls_max is 0"),
    ],
)
def test_values_that_cannot_be_meant(values, told):
    with pytest.raises(InvalidArgument, match=told):
        check_listening(changed(**values))


def test_a_listener_hands_its_policy_on():
    token, every = Token("xyz-1"), Token("xyz-2")
    settings = changed(api_token=token, all_apps_token=every)
    here = frozenset({"127.0.0.1"})
    assert settings.policy(FREE) == Policy(app_id="shop", api_token=token, all_apps_token=every, hosts=here)
    assert settings.app_ids == ("shop",)
    other = Listener(app_id="stock", grpc_port=0, http_port=0)
    assert changed(listeners=(FREE, other)).policy(other) == Policy(
        app_id="stock", neighbours=frozenset({"shop"}), hosts=here
    )
    assert changed(ui_hosts=("Shop.test",)).policy(FREE).hosts == here | {"shop.test"}
    assert changed(host="0.0.0.0", insecure_public=True).policy(FREE).hosts is None
    assert "xyz-" not in repr(settings)


def test_where_a_token_comes_from(tmp_path):
    file = tmp_path / "token"
    file.write_text("from-file\n")
    environment = {"DAPR_API_TOKEN": "dapr", "PERDURE_API_TOKEN": "own"}
    assert find_token(file, environment, module.TOKEN_VARIABLES) == Token("from-file")
    assert find_token(None, environment, module.TOKEN_VARIABLES) == Token("own")
    assert find_token(None, {**environment, "PERDURE_API_TOKEN": ""}, module.TOKEN_VARIABLES) == Token("dapr")
    assert find_token(None, {"DAPR_API_TOKEN": ""}, module.TOKEN_VARIABLES) is None


def test_a_token_file_that_holds_none(tmp_path):
    empty, binary, long = tmp_path / "empty", tmp_path / "binary", tmp_path / "long"
    empty.write_text(" \n")
    binary.write_bytes(b"\xff\xfe")
    long.write_text("x" * 10_000)
    for file, told in (
        (empty, "is empty"),
        (binary, "cannot be read"),
        (long, "1 to 4,096"),
        (tmp_path / "missing", "cannot be read: No such file"),
    ):
        with pytest.raises(InvalidArgument, match=told):
            find_token(file, os.environ, ())
