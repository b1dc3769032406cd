"""A step: any worker that has the code of its workflow can make it, and its call says which workflow that is."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from perdure.history.actions import Action, ScheduleActivity
from perdure.history.options import Label, decode_options
from perdure.history.transcript import STEP_TAG
from perdure.stores.contract import Wait

WORKFLOW_TAG = "perdure.workflow"
"""The tag of a step's call whose value is the name of the workflow that made it."""


def tagged(actions: Sequence[Action], workflow: str) -> list[Action]:
    """The actions of a turn of our own worker, the steps among them with the name of their workflow."""
    return [_tagged(action, workflow) for action in actions]


def _tagged(action: Action, workflow: str) -> Action:
    if isinstance(action, ScheduleActivity) and action.tags is not None and STEP_TAG in action.tags:
        return msgspec.structs.replace(action, tags={**action.tags, WORKFLOW_TAG: workflow})
    return action


def workflow_of(label: Label | None) -> str:
    """The workflow whose code makes the step that a call is; "" for an activity."""
    return (label.tags or {}).get(WORKFLOW_TAG, "") if label is not None else ""


def workflow_awaiting(wait: Wait) -> str:
    """The same of a call's row."""
    return workflow_of(decode_options(wait.options).label)
