"""A network namespace loses what it is told to lose, in either direction."""

from __future__ import annotations

import asyncio
import sys

import pytest

from tests.chaos.cable import Mode
from tests.chaos.namespace import STORE_HOST, Namespace, prepared

pytestmark = pytest.mark.chaos
SECONDS_MAX = 0.5
"""Within which a datagram comes over, or is lost."""
ASK = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
    asking.settimeout(float(sys.argv[3]))
    asking.sendto(b"ask", (sys.argv[1], int(sys.argv[2])))
    try:
        print(asking.recv(10).decode())
    except TimeoutError:
        print("nothing")
"""


class Echo(asyncio.DatagramProtocol):
    """Answers, and counts what has come."""

    heard = 0
    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.heard += 1
        self.transport.sendto(b"answer", address)


def test_each_way_is_cut_alone() -> None:
    async def scenario() -> dict[Mode, tuple[int, str]]:
        loop = asyncio.get_running_loop()
        _, echo = await loop.create_datagram_endpoint(Echo, (STORE_HOST, 0))
        port = echo.transport.get_extra_info("sockname")[1]
        cable = Namespace(port)
        await cable.start()
        seen = {}
        try:
            for mode in (Mode.CUT, Mode.DEAF, Mode.MUTE, Mode.OPEN):
                cable.turn(mode)
                echo.heard = 0
                asking = await asyncio.create_subprocess_exec(
                    *(*cable.prefix, sys.executable, "-c", ASK, STORE_HOST, str(port), str(SECONDS_MAX)),
                    stdout=asyncio.subprocess.PIPE,
                )
                told, _ = await asking.communicate()
                seen[mode] = echo.heard, told.decode().strip()
        finally:
            await cable.stop()
            echo.transport.close()
        return seen

    with prepared():
        seen = asyncio.run(scenario())
    assert seen == {
        Mode.CUT: (0, "nothing"),
        Mode.DEAF: (1, "nothing"),
        Mode.MUTE: (0, "nothing"),
        Mode.OPEN: (1, "answer"),
    }
