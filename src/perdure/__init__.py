"""Durable workflows: ordinary Python that survives crashes, restarts and deploys."""

import importlib
from typing import TYPE_CHECKING, Any

from perdure import events as events
from perdure.app import App, Client
from perdure.codec import Codec, KeyRing, PersonalKeys, Secret
from perdure.errors import (
    ActivityFailed,
    ActivityTimedOut,
    ApplicationError,
    ChildWorkflowFailed,
    CompensationFailed,
    InstanceExists,
    InstanceNotFound,
    PerdureError,
    ScheduleExists,
    ScheduleNotFound,
    UpdateFailed,
    UpdateNotAnswered,
    UpdateRefused,
    WorkflowCancelled,
    WorkflowFailed,
    WorkflowTerminated,
)
from perdure.history.queued import QueueState
from perdure.history.state import Explanation
from perdure.sdk.client import Handle
from perdure.sdk.client import State as InstanceState
from perdure.sdk.context import (
    activity_context,
    continue_as_new,
    now,
    on_update,
    patched,
    raise_event,
    random,
    set_state,
    set_status,
    uuid4,
    wait_for_event,
    workflow_context,
)
from perdure.sdk.definitions import Activity, StreamActivity, Workflow
from perdure.sdk.generator import WorkflowContext, when_all, when_any
from perdure.sdk.messages import ExternalEvent, Update
from perdure.sdk.options import Retry
from perdure.sdk.queues import Queue, Rate
from perdure.sdk.saga import Saga
from perdure.sdk.transactions import Outbox, Transaction
from perdure.stores.contract import Status

if TYPE_CHECKING:
    from perdure.sdk.debugger import Debugger
    from perdure.sdk.schedule_state import ScheduleRun, ScheduleState
    from perdure.sdk.schedules import Schedule

__version__ = "0.1.0"
__all__ = [
    "Activity",
    "ActivityFailed",
    "ActivityTimedOut",
    "App",
    "ApplicationError",
    "ChildWorkflowFailed",
    "Client",
    "Codec",
    "CompensationFailed",
    "Debugger",
    "Explanation",
    "ExternalEvent",
    "Handle",
    "InstanceExists",
    "InstanceNotFound",
    "InstanceState",
    "KeyRing",
    "Outbox",
    "PerdureError",
    "PersonalKeys",
    "Queue",
    "QueueState",
    "Rate",
    "Retry",
    "Saga",
    "Schedule",
    "ScheduleExists",
    "ScheduleNotFound",
    "ScheduleRun",
    "ScheduleState",
    "Secret",
    "Status",
    "StreamActivity",
    "Transaction",
    "Update",
    "UpdateFailed",
    "UpdateNotAnswered",
    "UpdateRefused",
    "Workflow",
    "WorkflowCancelled",
    "WorkflowContext",
    "WorkflowFailed",
    "WorkflowTerminated",
    "activity_context",
    "continue_as_new",
    "now",
    "on_update",
    "patched",
    "raise_event",
    "random",
    "set_state",
    "set_status",
    "uuid4",
    "wait_for_event",
    "when_all",
    "when_any",
    "workflow_context",
]


_LAZY = {
    "Debugger": "debugger",
    "Schedule": "schedules",
    "ScheduleRun": "schedule_state",
    "ScheduleState": "schedule_state",
}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # because what is not used costs nothing
    return getattr(importlib.import_module(f"perdure.sdk.{module}"), name)
