"""What an agent may use, its sub-agents included: limits divided among those that are asked, and added up again.

Pure. A sub-agent gets an equal share of what is left for the sub-agents that one answer of the model calls, so that
the limits hold for the tree even while they work side by side.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from pydantic_ai.usage import RunUsage, UsageLimits

from perdure.agents.records import Spent
from perdure.errors import InvalidArgument

REQUESTS_MAX = 200
"""Requests of an agent and its sub-agents unless its limits say otherwise."""
DEFAULT_LIMITS = UsageLimits(request_limit=REQUESTS_MAX)
_USED = {
    "request_limit": "requests",
    "tool_calls_limit": "tool_calls",
    "input_tokens_limit": "input_tokens",
    "output_tokens_limit": "output_tokens",
    "total_tokens_limit": "total_tokens",
    "cost_limit": "cost",
}
"""Limits of a whole run, and what they bound."""


def checked_limits(limits: UsageLimits | None) -> UsageLimits:
    """The limits of an agent, its cost as the exact number that it has to be. Raises InvalidArgument."""
    if limits is None:
        return DEFAULT_LIMITS
    if not isinstance(limits, UsageLimits):
        raise InvalidArgument(f"the limits are a {type(limits).__name__}; give UsageLimits(...)")
    return limits if limits.cost_limit is None else dataclasses.replace(limits, cost_limit=_cost(limits.cost_limit))


def _cost(told: Any) -> Decimal:
    try:
        return Decimal(str(told))
    except InvalidOperation:
        raise InvalidArgument(f"cost_limit is {told!r}; give dollars, as Decimal('2.00')") from None


def share(limits: UsageLimits, usage: RunUsage, among: int) -> dict[str, Any]:
    """The part of what is left that one of `among` sub-agents may use, in a form that can be stored."""
    left: dict[str, Any] = {}
    for name, used in _USED.items():
        limit = getattr(limits, name)
        if limit is not None:
            # a cost is divided exactly, also where the limits are those of an agent that nobody has checked
            rest = max((_cost(limit) if name == "cost_limit" else limit) - (getattr(usage, used) or 0), 0)
            left[name] = str(_cost(rest) / among) if name == "cost_limit" else rest // among
    if limits.per_request_input_tokens_limit is not None:
        left["per_request_input_tokens_limit"] = limits.per_request_input_tokens_limit
    return left


def within(own: UsageLimits, given: Mapping[str, Any] | None) -> UsageLimits:
    """An agent's own limits, and those it was given: the tighter of each."""
    tighter: dict[str, Any] = {}
    for name, value in (given or {}).items():
        limit = Decimal(value) if name == "cost_limit" else value
        mine = getattr(own, name)
        tighter[name] = limit if mine is None else min(mine, limit)
    return dataclasses.replace(own, **tighter)


def spent(usage: RunUsage) -> Spent:
    """What a run has used, as its answer tells it."""
    return Spent(
        requests=usage.requests,
        tool_calls=usage.tool_calls,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost=usage.cost,
    )


def usage_of(spent: Spent) -> RunUsage:
    """What a sub-agent has used, to be added to its caller's usage."""
    return RunUsage(
        requests=spent.requests,
        tool_calls=spent.tool_calls,
        input_tokens=spent.input_tokens,
        output_tokens=spent.output_tokens,
        cost=spent.cost,
    )
