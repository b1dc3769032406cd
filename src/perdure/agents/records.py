"""What passes between an agent's workflow and the world: a task, its answer, and what people decide meanwhile."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec

WORKFLOW_PREFIX = "agent."
"""The workflow of agent `support` is `agent.support`."""
PENDING = "agent.pending"
"""Name of the state under which a run publishes what it waits for people to decide."""


class Task(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The input of an agent's workflow. `prompt`: text, or parts in pydantic-ai's JSON form.

    `session` is the conversation that it belongs to, `deps` what its dependencies are made from. `history` are messages
    that another agent hands over, `limits` what is left of its limits, `handoffs` how often there was one. `in_turn`:
    the run has its place among those of its conversation; one that has none yet asks for it itself.
    """

    prompt: Any
    session: str | None = None
    deps: Any = None
    history: list[Any] = []
    limits: dict[str, Any] | None = None
    handoffs: int = 0
    in_turn: bool = False


class Spent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a run has used, its sub-agents' included. `cost` in US dollars, None if the models' prices are not known."""

    requests: int = 0
    tool_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal | None = None

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The result of an agent's workflow. `agent`: who has answered, another one after a handoff.

    `output` and `messages`, those of this run alone, are in pydantic-ai's JSON form. `kind` tells which of several
    types of output it is.
    """

    agent: str
    output: Any = None
    kind: str = ""
    usage: Spent = Spent()
    messages: list[Any] = []


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """How long, in seconds, people are waited for before a tool is called that asks for it (None: any time), and what
    is decided for them then: `default`."""

    timeout: float | None = None
    default: Literal["deny", "approve"] = "deny"


class Pending(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A call that waits for somebody outside. `kind`: for an approval, or for the result of a tool that runs elsewhere.

    `run` is the id of the run that waits, which may be that of a sub-agent, and `event` the external event that decides
    the call there; `until` when it decides by itself.
    """

    run: str
    call_id: str
    agent: str
    tool: str
    kind: Literal["approval", "result"]
    arguments: Any = None
    until: datetime | None = None
    event: str = ""


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What somebody has decided of a call: `arguments` instead of the model's; or `result`, of a tool elsewhere.

    `approved` has to be said, and no other field may be there, so that a slip of the pen approves nothing.
    """

    approved: bool
    by: str | None = None
    reason: str | None = None
    arguments: dict[str, Any] | None = None
    result: Any = None
