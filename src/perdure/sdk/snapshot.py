"""A snapshot of an instance as people read it: values and moments, and an error where it ended badly."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from perdure.clock import to_datetime
from perdure.codec import readable
from perdure.errors import OutcomeError, WorkflowCancelled, WorkflowFailed, WorkflowTerminated
from perdure.history.state import InstanceState
from perdure.sdk.failures import to_exception
from perdure.stores.contract import Status


class State(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of an instance as `Handle.state` and `Client.list` give it; values are decoded JSON."""

    id: str
    app: str
    name: str
    status: Status
    execution_id: str
    run: int
    created: datetime
    updated: datetime
    finished: datetime | None = None
    input: Any = None
    output: Any = None
    custom_status: Any = None
    failure: BaseException | None = None
    tags: dict[str, str] = {}
    parent: str | None = None
    suspended: Any = None
    stalled: Any = None
    version: str | None = None


def shown(state: InstanceState) -> State:
    """A snapshot with its payloads decoded."""
    return State(
        id=state.id,
        app=state.app,
        name=state.name,
        status=Status(state.status),
        execution_id=state.execution,
        run=state.generation,
        created=to_datetime(state.created),
        updated=to_datetime(state.updated),
        finished=to_datetime(state.finished) if state.finished is not None else None,
        input=readable(state.input),
        output=readable(state.output),
        custom_status=readable(state.custom_status),
        failure=outcome_error(state) if state.is_finished and state.status != Status.COMPLETED else None,
        tags=state.tags or {},
        parent=state.parent,
        suspended=state.suspended,
        stalled=state.stalled,
        version=state.version,
    )


def outcome_error(state: InstanceState) -> OutcomeError:
    """The error for an instance that finished without a result."""
    what = f"workflow {state.name} ({state.id})"
    if state.status == Status.CANCELED:
        return WorkflowCancelled(f"{what} was cancelled")
    if state.status == Status.TERMINATED:
        return WorkflowTerminated(f"{what} was terminated")
    failure = state.failure
    if failure is None:
        return WorkflowFailed(f"{what} failed")
    error = WorkflowFailed(f"{what} failed: {failure.type}: {failure.message}")
    error.__cause__ = to_exception(failure)
    return error
