"""An instance as clients are shown it, and the ids by which they may ask for one."""

from __future__ import annotations

from perdure.engine.operations import Operations
from perdure.errors import InstanceNotFound, InvalidArgument
from perdure.history.entities import is_entity
from perdure.history.state import InstanceState
from perdure.remote.requests import InstanceView
from perdure.remote.wire.execution import wire_execution
from perdure.remote.wire.statuses import SUSPENDED


def checked(id: str) -> str:
    """The id of an instance. Raises InvalidArgument for none, InstanceNotFound for an entity's."""
    if not id:
        raise InvalidArgument("the call names no instance; give its id")
    if is_entity(id):
        raise InstanceNotFound(f"{id[:200]!r} is an entity, which only calls about entities know", id)
    return id


async def found(operations: Operations, id: str) -> InstanceState | None:
    """The instance, None if there is none."""
    if is_entity(id):
        return None  # because an entity is no instance to clients
    try:
        return await operations.state(checked(id), None)
    except InstanceNotFound:
        return None


def shown_status(state: InstanceState) -> str:
    """The one word by which a selection knows the instance."""
    return SUSPENDED if state.suspended is not None and not state.is_finished else state.status


def view_of(state: InstanceState) -> InstanceView:
    """An instance as clients are shown it."""
    is_open = not state.is_finished
    return InstanceView(
        instance=state.id,
        name=state.name,
        status=state.status,
        created=state.created,
        updated=state.updated,
        version=state.version,
        scheduled=state.scheduled,
        finished=state.finished,
        input=state.input,
        output=state.output,
        custom_status=state.custom_status,
        failure=state.failure,
        execution=wire_execution(state.execution, state.generation),
        parent=state.parent,
        parent_app=state.parent_app,
        tags=state.tags,
        is_suspended=state.suspended is not None and is_open,
        is_stalled=state.stalled is not None and is_open,
    )
