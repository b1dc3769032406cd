"""Ports for servers that cannot choose one themselves, or have to come back at the one they had."""

from __future__ import annotations

import random
import socket

PORTS = range(10_000, 20_000)
"""Below those that systems hand out by themselves, because a connection that some other test opens would get one of
them between the moment in which it was found free and the one in which its server begins to listen."""
CLUSTER_BUS = 10_000
"""A node of a cluster of Redis also listens on the port that is so much higher, which is below those likewise."""


def free_port(*, cluster: bool = False) -> int:
    """A port that nobody listens on; of a node of a cluster that of its bus is free too."""
    # not of the seed that a test may have set, because processes with one seed would choose alike
    ports = random.SystemRandom().sample(PORTS, len(PORTS))
    return next(port for port in ports if _is_free(port) and (not cluster or _is_free(port + CLUSTER_BUS)))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
