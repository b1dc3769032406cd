"""Runs one workflow to its end for a test: in memory, with virtual time, in no time."""

from __future__ import annotations

from typing import Any, ParamSpec, TypeVar

from perdure.sdk.workflow import Workflow

P = ParamSpec("P")
R = TypeVar("R")


def run(workflow: Workflow[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What the workflow returns; raises what `Handle.result` would, and NothingMoves if it waits for ever.

    It runs in an `Environment` of its own. Its activities really run, its children too; sleeps and timeouts pass at
    once, so a workflow of a year takes milliseconds.
    """
    from perdure.testing.environment import Environment  # because the simulator has no use for it

    app: Any = workflow.home
    with Environment(app) as env:
        env.prefer(workflow)
        return env.run(_result(workflow, args, kwargs))


async def _result(workflow: Workflow[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
    handle = await workflow.start(*args, **kwargs)
    return await handle.result()
