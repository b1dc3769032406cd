"""The workflows and activities of the scenarios, for the recorded behaviour of the .NET SDKs."""

from typing import Any

import ledger
from replay import All, Context, Flow


class OrderError(Exception):
    """An error of the program's own."""


def flaky(order: dict[str, Any]) -> str:
    attempt = ledger.note(order["ledger"])
    if attempt < order["succeeds_at"]:
        raise RuntimeError(f"not yet: attempt {attempt}")
    return f"attempt {attempt}"


def ship(order: Any) -> None:
    try:
        raise LookupError("no such address")
    except LookupError as cause:
        raise OrderError("the order cannot be shipped") from cause


def square(order: dict[str, Any]) -> int:
    ledger.note(order["ledger"])
    return order["number"] ** 2


def slow(prefix: str) -> None:
    ledger.note(f"{prefix}-slow")
    ledger.gate(prefix)


def note(name: str) -> None:
    ledger.note(name)


ACTIVITIES = {
    "add_one": lambda number: number + 1,
    "double": lambda number: number * 2,
    "mirror_text": lambda text: text,
    **{function.__name__: function for function in (flaky, ship, square, slow, note)},
}


def chaining(ctx: Context, number: int) -> Flow:
    for _ in range(3):
        number = yield ctx.call("add_one", number)
    return number


def fan_out(ctx: Context, order: dict[str, Any]) -> Flow:
    squares = [ctx.call("square", {"ledger": order["ledger"], "number": number}) for number in range(order["count"])]
    return sum((yield All(squares)))


def parent(ctx: Context, number: int) -> Flow:
    return (yield ctx.child("doubler", number))


def doubler(ctx: Context, number: int) -> Flow:
    return (yield ctx.call("double", number))


def timer(ctx: Context, seconds: float) -> Flow:
    yield ctx.timer(seconds)
    return "fired"


def late_listener(ctx: Context, _: Any) -> Flow:
    yield ctx.timer(1)
    return (yield ctx.event("go"))


def listener(ctx: Context, _: Any) -> Flow:
    ctx.status = '"waiting"'
    return (yield ctx.event("go"))


def impatient(ctx: Context, seconds: float) -> Flow:
    try:
        return (yield ctx.event("go", seconds))
    except TimeoutError:
        return "timed out"


def retrying(ctx: Context, order: dict[str, Any]) -> Flow:
    return (yield from ctx.retried("flaky", order, order["attempts"]))


def doomed(ctx: Context, _: Any) -> Flow:
    yield ctx.call("ship")


def collector(ctx: Context, items: list[int]) -> Flow:
    items = [*items, (yield ctx.event("item"))]
    if len(items) < 5:
        ctx.continue_as_new(items)
    return items


def reporter(ctx: Context, _: Any) -> Flow:
    ctx.status = '"half way"'
    yield ctx.event("go")
    ctx.status = '"finished"'
    return "done"


def patient_parent(ctx: Context, child: str) -> Flow:
    return (yield ctx.child("listener", None, child))


def mirror(ctx: Context, text: str) -> Flow:
    return (yield ctx.call("mirror_text", text))


def marathon(ctx: Context, steps: int) -> Flow:
    number = 0
    for _ in range(steps):
        number = yield ctx.call("add_one", number)
    return number


def stops_in_turn(ctx: Context, prefix: str) -> Flow:
    yield ctx.call("note", f"{prefix}-first")
    ledger.gate(prefix)
    yield ctx.call("note", f"{prefix}-second")
    return "done"


def stops_in_activity(ctx: Context, prefix: str) -> Flow:
    yield ctx.call("note", f"{prefix}-first")
    yield ctx.call("slow", prefix)
    return "done"


def sleeps_between(ctx: Context, prefix: str) -> Flow:
    yield ctx.call("note", f"{prefix}-first")
    ctx.status = '"sleeping"'
    yield ctx.timer(3)
    yield ctx.call("note", f"{prefix}-second")
    return "done"


FLOWS = {
    flow.__name__: flow
    for flow in (
        *(chaining, fan_out, parent, doubler, timer, late_listener, listener, impatient, retrying, doomed, collector),
        *(reporter, patient_parent, mirror, marathon, stops_in_turn, stops_in_activity, sleeps_between),
    )
}
