"""What a server that is no Perdure lacks: told when the worker connects, not when a workflow meets it."""

from __future__ import annotations

from perdure.errors import NotSupportedByServer
from perdure.remote.requests import Flavour
from perdure.sdk.definitions import Definitions


def check_definitions(definitions: Definitions, address: str, flavour: Flavour) -> None:
    """Raises NotSupportedByServer with the first function that needs what the server lacks, and what that is."""
    for name, activity in definitions.activities.items():
        if activity.has_stream:
            _refuse(f"activity {name!r} has a stream, and it has none", "return a list", address)
        if activity.options.heartbeat_timeout is not None:
            _refuse(f"activity {name!r} has a heartbeat_timeout, and it hears no heartbeats", "use a timeout", address)
        if activity.options.place is not None:
            _refuse(f"activity {name!r} is in a queue, and it has none", "call it without one", address)
    for name, versions in definitions.versions.items():
        for workflow in versions.values():
            if workflow.options.place is not None:
                _refuse(f"workflow {name!r} is in a queue, and it has none", "start it without one", address)
            if workflow.version is not None and flavour is not Flavour.DAPR:
                what = f"workflow {name!r} has versions, and it does not record which one a run is on"
                _refuse(what, "give each version a name of its own", address)
    for each in definitions.subscriptions.values():
        _refuse(f"the app subscribes to the topic {each.topic!r}, and it has none", "raise events", address)
    for id in definitions.schedules:
        _refuse(f"schedule {id!r} is declared, and it has no schedules", "start the workflow by other means", address)


def _refuse(what: str, instead: str, address: str) -> None:
    raise NotSupportedByServer(f"the server at {address} is no Perdure: {what}; {instead}, or use `perdure serve`")
