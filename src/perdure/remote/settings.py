"""How a server is to be run, and whether it may be run like that."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections import Counter
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

import msgspec

from perdure.blocks.resources import USUAL, Resources
from perdure.errors import CertificateNotUsable, InvalidArgument, NotSecure, PortNotFree
from perdure.remote.security import TOKEN_CHARACTERS_MAX, Policy, Token
from perdure.sdk.options import checked_name
from perdure.sdk.webhooks import Webhook

LOOPBACK = "127.0.0.1"
GRPC_PORT = 50_001
"""Where the public SDKs look for a server if nothing tells them another port."""
HTTP_PORT = 3_500
"""Likewise over HTTP."""
HTTP, GRPC = "http", "grpc"
"""What a program may speak that listens itself."""
TOKEN_VARIABLES = ("PERDURE_API_TOKEN", "DAPR_API_TOKEN")
"""Variables that hold the API token; the first that is set counts."""
ALL_APPS_TOKEN_VARIABLES = ("PERDURE_ALL_APPS_TOKEN",)
"""Likewise of the token that opens every app."""
WEBHOOK_SECRET_VARIABLES = ("PERDURE_WEBHOOK_SECRET",)
"""Likewise of the secret by which what a webhook is told is signed."""

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
"""A message that comes in. Two payloads of the largest size fit; read, a hostile one takes thirty times its length."""
CALLS_MAX = 10_000
"""Calls that one listener answers at once, of which most wait for a workflow to end; more are told to come later."""
STREAMS_MAX = 1_000
"""Workers that may be connected to one listener."""
ITEMS_PER_STREAM_MAX = 100
"""Turns, as many activities and as many batches, that one worker of a public SDK has in hand, unless it names a smaller
bound: what the smallest SDK can keep."""
DRAIN_SECONDS = 10.0
"""How long a server that is to stop waits for what runs, before it cuts."""
DRAIN_SECONDS_MAX = 3_600.0


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """Where one app is served, and with which components. Port 0 takes a free one; `http_port` None: no HTTP."""

    app_id: str
    grpc_port: int = GRPC_PORT
    http_port: int | None = HTTP_PORT
    resources: Resources = USUAL
    app_url: str | None = None
    """Where the program itself listens, such as http://127.0.0.1:8000 or grpc://127.0.0.1:8000; None if it does not."""

    @property
    def ports(self) -> tuple[int, ...]:
        return (self.grpc_port,) if self.http_port is None else (self.grpc_port, self.http_port)


def app_url(protocol: str, host: str, port: int) -> str | None:
    """Where a program is reached; None if it listens on no port, or speaks there what a server does not."""
    return f"{protocol}://{host}:{port}" if port and protocol in (HTTP, GRPC) else None


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Files in PEM form. With `client_ca` a caller has to show a certificate that one of its authorities signed."""

    cert: Path
    key: Path
    client_ca: Path | None = None


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """All that a server is told before it opens. `host` is the address to listen on; `insecure_public` lets that be one
    that others reach although the calls are not encrypted, or the callers not known. `audit`: management actions are
    entered in the audit log. `trace_sample` is the share of runs that are traced, None for no traces at all.
    `lifecycle`: what happens to instances is written for those who follow it; a `webhook` is told as well."""

    listeners: tuple[Listener, ...]
    store: str
    host: str = LOOPBACK
    tls: Tls | None = None
    api_token: Token | None = None
    all_apps_token: Token | None = None
    insecure_public: bool = False
    ui: bool = True
    """Whether the HTTP port has the dashboard under /ui, reached by localhost, addresses in numbers, and `ui_hosts`."""
    ui_hosts: tuple[str, ...] = ()
    audit: bool = True
    lifecycle: bool = False
    webhook: Webhook | None = None
    drain_seconds: float = DRAIN_SECONDS
    quarantines: bool = False
    """Whether work with which workers die again and again runs alone, and stands still in the end."""
    message_bytes_max: int = MESSAGE_BYTES_MAX
    calls_max: int = CALLS_MAX
    streams_max: int = STREAMS_MAX
    items_per_stream_max: int = ITEMS_PER_STREAM_MAX
    trace_sample: float | None = None

    @property
    def app_ids(self) -> tuple[str, ...]:
        return tuple(listener.app_id for listener in self.listeners)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        return is_loopback(self.host)

    def policy(self, listener: Listener) -> Policy:
        """What a listener asks of its callers."""
        return Policy(
            app_id=listener.app_id,
            neighbours=frozenset(self.app_ids) - {listener.app_id},
            api_token=self.api_token,
            all_apps_token=self.all_apps_token,
            # of others nobody knows by which names they are reached, and they say that they are open to whoever does
            hosts=frozenset(name.lower() for name in (self.host, *self.ui_hosts)) if self.is_loopback else None,
        )


def check_listening(settings: ServerSettings) -> None:
    """Raises InvalidArgument, NotSecure, CertificateNotUsable or PortNotFree if a server should not listen."""
    check_settings(settings)
    check_address(settings)
    if settings.tls is not None:
        check_certificates(settings.tls)
    check_ports(settings)


def check_settings(settings: ServerSettings) -> None:
    """Raises InvalidArgument if a value cannot be meant. Pure."""
    if not settings.listeners:
        raise InvalidArgument("a server serves at least one app; name it with --app-id")
    for app_id in settings.app_ids:
        checked_name(app_id, "app id")
    _refuse_twice("app id", settings.app_ids)
    if not settings.host:
        raise InvalidArgument(f"the host is empty; give an address such as {LOOPBACK}")
    ports = [port for listener in settings.listeners for port in listener.ports]
    for port in ports:
        if not 0 <= port <= 65_535:
            raise InvalidArgument(f"port {port} is none; give 1 to 65535, or 0 for a free one")
    _refuse_twice("port", [str(port) for port in ports if port])
    if not 0 <= settings.drain_seconds <= DRAIN_SECONDS_MAX:
        raise InvalidArgument(f"drain seconds are {settings.drain_seconds}; give 0 to {DRAIN_SECONDS_MAX:,.0f}")
    for name in ("message_bytes_max", "calls_max", "streams_max", "items_per_stream_max"):
        if getattr(settings, name) < 1:
            raise InvalidArgument(f"{name} is {getattr(settings, name)}; give 1 or more")


def check_address(settings: ServerSettings) -> None:
    """Raises NotSecure if others could call, or listen in, where nobody has said that they may. Pure."""
    asks = settings.api_token is not None or (settings.tls is not None and settings.tls.client_ca is not None)
    check_reach(
        settings.host,
        is_encrypted=settings.tls is not None,
        asks=asks,
        insecure_public=settings.insecure_public,
        how="token (--api-token-file) and no client certificates (--client-ca)",
    )


def check_reach(
    host: str, *, is_encrypted: bool, asks: bool, insecure_public: bool, how: str = "token (--token-file)"
) -> None:
    """The same of any listener: whether it is encrypted, and asks callers who they are, which is done as `how` says.

    Raises NotSecure. Pure.
    """
    if is_loopback(host) or insecure_public:
        return
    missing = []
    if not is_encrypted:
        missing.append("TLS (--tls-cert, --tls-key)")
    if not asks:
        missing.append(how)
    if missing:
        raise NotSecure(
            f"{host!r} is an address that others can reach, and the server has no {' and no '.join(missing)}; "
            f"add what is missing, listen on {LOOPBACK}, or say --allow-insecure-public"
        )


def check_certificates(tls: Tls) -> None:
    """Raises CertificateNotUsable if the files cannot be read or do not belong together."""
    server_context(tls)


def server_context(tls: Tls) -> ssl.SSLContext:
    """What a server answers with in TLS: its certificate, and the authorities of its callers if it wants any.

    Raises CertificateNotUsable.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    for path in filter(None, (tls.cert, tls.key, tls.client_ca)):
        _check_readable(path)
    try:
        context.load_cert_chain(tls.cert, tls.key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise CertificateNotUsable(_what_is_wrong(tls, error)) from error
    if tls.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(tls.client_ca)
        except ssl.SSLError as error:
            raise CertificateNotUsable(
                f"{tls.client_ca} holds no certificate of an authority; give a PEM file"
            ) from error
    return context


def check_ports(settings: ServerSettings) -> None:
    """Raises PortNotFree if a port is taken, and InvalidArgument if the host is no address of this machine.

    A server would not always notice by itself: the system lets two that agree to it share a port.
    """
    for listener in settings.listeners:
        for option, port in (("--grpc-port", listener.grpc_port), ("--http-port", listener.http_port)):
            if port is not None:
                _check_port(settings.host, port, option)


def is_loopback(host: str) -> bool:
    """Whether an address is one that only this machine reaches. A name other than localhost might be any. Pure."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def find_token(file: Path | None, environment: Mapping[str, str], variables: tuple[str, ...]) -> Token | None:
    """The token in a file, else in the first of the variables that is set; None if there is none of either.

    Raises InvalidArgument if the file cannot be read or holds none.
    """
    if file is not None:
        return _token_of(file)
    found = next(filter(None, (environment.get(name) for name in variables)), None)
    return None if found is None else Token(found)


def _token_of(file: Path) -> Token:
    try:
        with file.open(encoding="utf-8") as opened:
            text = opened.read(TOKEN_CHARACTERS_MAX + 3).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"the token in {file} cannot be read: {_why(error)}") from error
    if not text:
        raise InvalidArgument(f"{file} is empty; write the API token into it")
    return Token(text)


def _refuse_twice(what: str, values: tuple[str, ...] | list[str]) -> None:
    for value, times in Counter(values).items():
        if times > 1:
            raise InvalidArgument(f"{what} {value!r} is given {times} times; each has to differ")


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb"):
            return
    except OSError as error:
        raise CertificateNotUsable(f"{path} cannot be read: {_why(error)}") from error


def _no_password() -> str:
    # because OpenSSL would ask for it on the terminal, where nobody may be
    raise ValueError("the key is encrypted")


def _what_is_wrong(tls: Tls, error: ssl.SSLError | ValueError) -> str:
    if not isinstance(error, ssl.SSLError):
        return f"the key in {tls.key} is encrypted; give one without a password, in a file that only the server reads"
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"the key in {tls.key} is not that of the certificate in {tls.cert}; give the two files of one pair"
    return f"{tls.cert} and {tls.key} do not hold a certificate and its key in PEM form ({error.reason or error})"


def _check_port(host: str, port: int, option: str) -> None:
    absent: OSError | None = None
    bound = 0
    for family, address in _addresses(host, port):
        try:
            _bind(family, address)
            bound += 1
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise _not_bound(host, port, option, error) from error
            absent = error  # because localhost is often said to have an IPv6 address where there is no IPv6
    if not bound and absent is not None:
        raise _not_bound(host, port, option, absent) from absent


def _bind(family: int, address: tuple[object, ...]) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # because connections of a server that has just ended may linger on the port
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind(address)


def _addresses(host: str, port: int) -> list[tuple[int, tuple[object, ...]]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return [(family, address) for family, _, _, _, address in found]
    except (OSError, UnicodeError) as error:
        raise InvalidArgument(f"host {host!r} is no address: {_why(error)}; give one such as {LOOPBACK}") from error


def _not_bound(host: str, port: int, option: str, error: OSError) -> PortNotFree | InvalidArgument:
    if error.errno == errno.EADDRINUSE:
        return PortNotFree(
            f"port {port} of {host} is in use; end what listens there, or choose another with {option} (0: a free one)"
        )
    if error.errno == errno.EACCES:
        return PortNotFree(f"port {port} of {host} is not for this user; choose one above 1023 with {option}")
    return InvalidArgument(f"host {host!r} is no address of this machine: {_why(error)}; give one such as {LOOPBACK}")


def _why(error: Exception) -> str:
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno and error.errno > 0 else str(error)
