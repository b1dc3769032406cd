"""Durable workflows: ordinary Python that survives crashes, restarts and deploys."""

import importlib
from typing import TYPE_CHECKING, Any

from perdure import events as events
from perdure.app import App, Client
from perdure.codec import Codec, KeyRing, PersonalKeys, Secret
from perdure.errors import (
    ActivityFailed,
    ActivityTimedOut,
    ActorFailed,
    ActorReentered,
    ActorTimedOut,
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
from perdure.history.alike import FailureGroup, Retried
from perdure.history.nodes import NodeState
from perdure.history.queued import QueueState
from perdure.history.state import Explanation
from perdure.history.subscribing import Verdict
from perdure.history.topic_state import GroupState, TopicState
from perdure.sdk.activity import Activity, StreamActivity
from perdure.sdk.cloud_event import CloudEvent
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
from perdure.sdk.generator import WorkflowContext, when_all, when_any
from perdure.sdk.handle import Handle
from perdure.sdk.messages import ExternalEvent, Update
from perdure.sdk.options import Retry
from perdure.sdk.publishing import publish
from perdure.sdk.queues import Queue, Rate
from perdure.sdk.saga import Saga
from perdure.sdk.snapshot import State as InstanceState
from perdure.sdk.steps import step
from perdure.sdk.transactions import Outbox, Transaction
from perdure.sdk.workflow import Workflow
from perdure.stores.contract import Status

if TYPE_CHECKING:
    from perdure.blocks.actors import Actor, send
    from perdure.remote.dashboard import application as dashboard
    from perdure.remote.tracing import Tracing
    from perdure.sdk.debugger import Debugger
    from perdure.sdk.logs import LogContext, setup_logging
    from perdure.sdk.schedule_state import ScheduleRun, ScheduleState
    from perdure.sdk.schedules import Schedule
    from perdure.sdk.webhooks import Webhook

__version__ = "0.1.0"
__all__ = [
    "Activity",
    "ActivityFailed",
    "ActivityTimedOut",
    "Actor",
    "ActorFailed",
    "ActorReentered",
    "ActorTimedOut",
    "App",
    "ApplicationError",
    "ChildWorkflowFailed",
    "Client",
    "CloudEvent",
    "Codec",
    "CompensationFailed",
    "Debugger",
    "Explanation",
    "ExternalEvent",
    "FailureGroup",
    "GroupState",
    "Handle",
    "InstanceExists",
    "InstanceNotFound",
    "InstanceState",
    "KeyRing",
    "LogContext",
    "NodeState",
    "Outbox",
    "PerdureError",
    "PersonalKeys",
    "Queue",
    "QueueState",
    "Rate",
    "Retried",
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
    "TopicState",
    "Tracing",
    "Transaction",
    "Update",
    "UpdateFailed",
    "UpdateNotAnswered",
    "UpdateRefused",
    "Verdict",
    "Webhook",
    "Workflow",
    "WorkflowCancelled",
    "WorkflowContext",
    "WorkflowFailed",
    "WorkflowTerminated",
    "activity_context",
    "continue_as_new",
    "dashboard",
    "now",
    "on_update",
    "patched",
    "publish",
    "raise_event",
    "random",
    "send",
    "set_state",
    "set_status",
    "step",
    "setup_logging",
    "uuid4",
    "wait_for_event",
    "when_all",
    "when_any",
    "workflow_context",
]


_LAZY = {
    "Actor": ("perdure.blocks.actors", "Actor"),
    "Debugger": ("perdure.sdk.debugger", "Debugger"),
    "LogContext": ("perdure.sdk.logs", "LogContext"),
    "Schedule": ("perdure.sdk.schedules", "Schedule"),
    "ScheduleRun": ("perdure.sdk.schedule_state", "ScheduleRun"),
    "ScheduleState": ("perdure.sdk.schedule_state", "ScheduleState"),
    "Tracing": ("perdure.remote.tracing", "Tracing"),
    "Webhook": ("perdure.sdk.webhooks", "Webhook"),
    "dashboard": ("perdure.remote.dashboard", "application"),
    "send": ("perdure.blocks.actors", "send"),
    "setup_logging": ("perdure.sdk.logs", "setup_logging"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, found = _LAZY[name]
    # because what is not used costs nothing
    return getattr(importlib.import_module(module), found)
