"""Agents of pydantic-ai that survive crashes: each model request and each tool call is a step of a workflow."""

from perdure.agents.delegation import agent_tool, handoff
from perdure.agents.durability import WorkflowDurability
from perdure.agents.external import fail, resolve
from perdure.agents.following import Told, follow
from perdure.agents.hosted import DurableAgent
from perdure.agents.live import LiveModel
from perdure.agents.records import Answer, Approval, Decision, Pending, Spent, Task
from perdure.agents.running import AgentRun
from perdure.agents.step_options import StepOptions
from perdure.agents.trail import AgentStep
from perdure.agents.workflow_side import durably

__all__ = [
    "AgentRun",
    "AgentStep",
    "Answer",
    "Approval",
    "Decision",
    "DurableAgent",
    "LiveModel",
    "Pending",
    "Spent",
    "StepOptions",
    "Task",
    "Told",
    "WorkflowDurability",
    "agent_tool",
    "durably",
    "fail",
    "follow",
    "handoff",
    "resolve",
]
