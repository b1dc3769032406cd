"""Whether a server is called in the way in which it listens: with TLS or without."""

from __future__ import annotations

import asyncio
import ssl

from perdure.errors import InvalidArgument
from perdure.remote.native.target import ENCRYPTED, PLAIN, Target

HANDSHAKE_SECONDS = 2.0
"""How long a server may take to show that it speaks TLS."""
NO_TLS = "WRONG_VERSION_NUMBER"
"""What TLS says of an answer that is none of its own."""


async def check_scheme(target: Target, failure: Exception) -> None:
    """After a call that failed. Raises InvalidArgument if TLS is what stands between."""
    address = target.address
    if target.is_encrypted and NO_TLS in str(failure):
        raise InvalidArgument(f"the server at {address} does not speak TLS; its address is {PLAIN}://{address}")
    if not target.is_encrypted and await _speaks_tls(address):
        raise InvalidArgument(f"the server at {address} speaks TLS; its address is {ENCRYPTED}://{address}")


async def _speaks_tls(address: str) -> bool:
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # because nothing is said to whoever it is
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=context)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True
