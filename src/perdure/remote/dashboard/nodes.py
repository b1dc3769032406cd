"""The nodes that run an app, their shards and slots, and the queues in which work waits."""

from __future__ import annotations

from perdure.errors import NotSupportedByServer
from perdure.remote.dashboard.page import Page, Shown
from perdure.remote.dashboard.views.machines import machine_of, queue_of
from perdure.remote.dashboard.visit import Visit

NODES_MAX = 500
QUEUES_MAX = 500
"""Rows of each table."""


async def nodes(visit: Visit) -> Shown:
    now = visit.now
    try:
        queues = [queue_of(queue, now) for queue in (await visit.gateway.queues())[:QUEUES_MAX]]
    except NotSupportedByServer:
        queues = []
    machines = [machine_of(node, now) for node in (await visit.gateway.nodes())[:NODES_MAX]]
    return Shown({"machines": machines, "queues": queues, "holder": await visit.gateway.holder()})


NODE_PAGES = (Page(path="nodes", shows=nodes, template="nodes.html", fragment="_nodes.html", nav="nodes"),)
