"""What an application is offered where no files say it: everything on the store of its server."""

from __future__ import annotations

from perdure.blocks.resources.records import Component, Resources

STATE, PUBSUB, CONFIGURATION = "state.perdure", "pubsub.perdure", "configuration.perdure"
_OFFERED = {
    # as `dapr init` leaves them on a machine
    "statestore": STATE,
    "pubsub": PUBSUB,
    "configstore": CONFIGURATION,
    # under which agents of Dapr look for what makes them durable; agent-registry is not among them, because it makes
    # every agent a tool of every other
    "agent-workflow": STATE,
    "agent-memory": STATE,
    "agent-pubsub": PUBSUB,
}

USUAL = Resources(components=tuple(Component(name=name, type=type, version="v1") for name, type in _OFFERED.items()))
"""The components by the names that programs expect."""
