"""Whether code of an agent runs in a workflow, where all that it does outside is a step, and what it is told there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import msgspec

# the one private name that is used, because a `def` would be waited for in vain: the public `using_thread_executor` is
# overruled by an agent's own ThreadExecutor, and this is not
from pydantic_ai._utils import disable_threads
from pydantic_ai.durable_exec import replay_scope

from perdure import wait_for_event, workflow_context
from perdure.errors import OnlyInWorkflow

T = TypeVar("T")


def in_workflow() -> bool:
    """Whether the code that asks is a workflow's own."""
    try:
        workflow_context()
    except OnlyInWorkflow:
        return False
    return True


@contextmanager
def durably() -> Iterator[None]:
    """Around `agent.run` in a workflow: plain functions run in place, and nothing is told again that is replayed.

    No thread can reach a workflow's loop, so a `def` that pydantic-ai calls between steps runs in the turn; tools are
    steps, and run in threads as ever. Spans and token counts of what is replayed, or unwound, are not told again. The
    capability does both for all that goes on inside it; further out are the span of the run and what is called to
    prepare it.
    """
    info = workflow_context()
    with disable_threads(), replay_scope(is_replaying=lambda: info.is_replaying):
        yield


async def heard(event: str, kind: type[T]) -> T:
    """The data of the first event that fits. Others are passed by, because who sent one can send another."""
    while True:
        told = await wait_for_event(event)
        try:
            return msgspec.convert(told, kind)
        except msgspec.ValidationError as error:
            workflow_context().logger.warning("event %s is no %s: %s; send another", event, kind.__name__, error)
