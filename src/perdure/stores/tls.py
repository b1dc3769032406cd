"""What the address of a store says of encryption, in the same words for every kind of server."""

from __future__ import annotations

import ssl

import msgspec

from perdure.errors import StoreNotUsable, UnknownConfiguration

MODES = ("off", "require", "verify")
"""`require` encrypts and asks nobody who the server is; `verify` wants a certificate for its name."""
WORDS = ("tls", "tls_ca", "tls_cert", "tls_key")
"""Options: the mode; files with the certificates that are trusted, with one's own, and with its key."""


class Tls(msgspec.Struct, frozen=True):
    """How a connection is encrypted. `ca` None: the system's certificates are trusted."""

    mode: str = "off"
    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def context(self) -> ssl.SSLContext | None:
        """None without encryption. Raises StoreNotUsable if a file cannot be read."""
        if self.mode == "off":
            return None
        context = _trusting(self.ca)
        if self.mode == "require":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert is not None:
            try:
                context.load_cert_chain(self.cert, self.key)
            except OSError as error:
                raise StoreNotUsable(
                    f"{self.cert} is no certificate with its key ({error}); look at tls_cert and tls_key"
                ) from error
        return context


PLAIN = Tls()
"""Without encryption."""


def read_tls(options: dict[str, str], mode: str = "off") -> Tls:
    """What the options say, where `mode` is that of an address which says nothing. Raises UnknownConfiguration."""
    for name in WORDS:
        if options.get(name) == "":
            raise UnknownConfiguration(f"{name} is empty; give it a value, or leave it out")
    named = options.get("tls", mode)
    if named not in MODES:
        raise UnknownConfiguration(f"tls={named!r} is unknown; there are {', '.join(MODES)}")
    files = [name for name in WORDS[1:] if name in options]
    if named == "off" and files:
        raise UnknownConfiguration(f"{files[0]} says nothing without encryption; write tls=verify, or leave it out")
    if "tls_key" in options and "tls_cert" not in options:
        raise UnknownConfiguration("tls_key is the key of a certificate; name that by tls_cert, or leave it out")
    return Tls(named, options.get("tls_ca"), options.get("tls_cert"), options.get("tls_key"))


def _trusting(ca: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise StoreNotUsable(f"{ca} is no file of certificates ({error}); look at tls_ca") from error
