"""Dapr's way of writing workflows, for those who come from there: `yield` a task, get its result.

python examples/generator_style.py
"""

import asyncio
from collections.abc import Generator
from datetime import timedelta
from typing import Any

from perdure import App, WorkflowContext, when_all, when_any

app = App("generator_style")


@app.activity
def square(number: int) -> int:
    return number * number


@app.workflow
def sum_of_squares(ctx: WorkflowContext, upto: int) -> Generator[Any, Any, int]:
    squares = yield when_all([ctx.call_activity(square, input=number) for number in range(1, upto + 1)])
    return sum(squares)


@app.workflow
def with_a_deadline(ctx: WorkflowContext, upto: int) -> Generator[Any, Any, str]:
    ctx.set_custom_status("calculating")
    total = yield ctx.call_child_workflow(sum_of_squares, input=upto)
    ctx.set_custom_status("waiting for approval")
    approval = ctx.wait_for_external_event("approval")
    deadline = ctx.create_timer(timedelta(seconds=5))
    winner = yield when_any([approval, deadline])
    if winner is deadline:
        return f"{total}, but nobody approved"
    return f"{total}, approved by {approval.get_result()}"


async def main() -> None:
    async with app:
        handle = await with_a_deadline.start(10)
        await handle.raise_event("approval", "ada")
        print(await handle.result(timeout=30))


if __name__ == "__main__":
    asyncio.run(main())
