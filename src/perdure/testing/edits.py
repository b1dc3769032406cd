"""What people do to workflow code while its runs go on: edits of its syntax tree, drawn from a seed.

Each seed takes a program, lets it run on the real engine to a moment of its own, edits it, asks the gate about the
edited code, and then lets the engine really go on with that code.
"""

from __future__ import annotations

import ast
import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import msgspec

import perdure
from perdure.app import App
from perdure.engine.engine import Engine
from perdure.errors import WorkflowFailed
from perdure.history.recording import recording_of
from perdure.sdk.activity import Activity
from perdure.sdk.client import Client
from perdure.sdk.handle import Handle
from perdure.sdk.verdict import Verdict, replay_recording
from perdure.sdk.worker import Worker
from perdure.sdk.workflow import Workflow
from perdure.stores.contract import FINISHED
from perdure.stores.memory import MemoryStore
from perdure.testing.loop import SimClock, SimLoop
from perdure.testing.virtual import UNHURRIED

APP, ID, EVENTS = "edits", "run", ("go", "more")
SECONDS_MAX = 100_000.0
"""Virtual time after which a run that neither ends nor stalls is said to hang."""

PROGRAMS = {
    "sequence": """
async def main(x):
    one = own("a", await a(x))
    two = own("b", await b(x + 1))
    await asyncio.sleep(30)
    word = await wait_for_event("go")
    three = own("c", await c(2))
    return [one, two, word, three]
""",
    "fan-out": """
async def main(x):
    first, second = await asyncio.gather(a(x), b(x))
    own("a", first)
    own("b", second)
    async with asyncio.timeout(200):
        third = own("c", await c(1))
    await asyncio.sleep(5)
    return [first, second, third, own("a", await a(3))]
""",
    "loop": """
async def main(x):
    done = []
    for number in range(3):
        if number % 2 == 0:
            done.append(own("a", await a(number)))
        else:
            done.append(own("b", await b(number)))
            await asyncio.sleep(7)
        set_status(number)
    done.append(await wait_for_event("more"))
    return done
""",
    "first of two": """
async def main(x):
    fast = asyncio.create_task(a(x))
    slow = asyncio.create_task(slowly(x))
    await asyncio.wait([fast, slow], return_when=asyncio.FIRST_COMPLETED)
    slow.cancel()
    last = own("b", await b(1))
    await asyncio.sleep(10)
    return [own("a", fast.result()), last, own("c", await c(1))]
""",
    "group": """
async def main(x):
    async with asyncio.TaskGroup() as group:
        left = group.create_task(a(x))
        right = group.create_task(b(x))
    own("a", left.result())
    try:
        async with asyncio.timeout(3):
            await wait_for_event("never")
    except TimeoutError:
        own("c", await c(9))
    part = await child(x)
    await raise_and_go(x)
    return [own("b", right.result()), part, own("d", await d(1))]

async def raise_and_go(x):
    await asyncio.sleep(2)
    own("b", await b(x))
""",
}


class Trial(msgspec.Struct, frozen=True):
    """What came of one seed: the edit, the gate's verdict, and how the engine went on with the edited code.

    `outcome` is "finished", "stalled", "hung" or "mixed up" (a result reached another step than its own).
    """

    seed: int
    program: str
    edit: str
    source: str
    verdict: Verdict
    outcome: str


class MixedUp(Exception):
    """A step was given the result of another one."""


def try_edit(seed: int) -> Trial:
    """Let a program run, edit it, ask the gate, and go on."""
    chance = random.Random(seed)
    program, edit, source = _drawn(chance)
    seconds = chance.uniform(0.0, 60.0)
    while True:
        loop = SimLoop(chance)
        found = loop.run(_tried(loop, chance, PROGRAMS[program], source, seconds))
        if found is not None:
            return Trial(seed, program, edit, source, *found)
        seconds /= 2  # because the run was over by then, and there was nothing to go on with


def _drawn(chance: random.Random) -> tuple[str, str, str]:
    """A program, an edit, and the source after it, which is another one."""
    while True:
        program, edit = chance.choice(sorted(PROGRAMS)), chance.choice(sorted(EDITS))
        source = edited(PROGRAMS[program], edit, chance)
        if source != ast.unparse(ast.parse(PROGRAMS[program])):
            return program, edit, source


async def _tried(
    loop: SimLoop, chance: random.Random, before: str, after: str, seconds: float
) -> tuple[Verdict, str] | None:
    store, clock = MemoryStore(), SimClock(loop, chance)

    def engine(source: str) -> Engine:
        worker = Worker(APP, app_of(source).definitions)
        return Engine(APP, store, worker, clock=clock, owner=APP, pace=UNHURRIED, drain_seconds=0.0)

    old = engine(before)
    await old.open()
    handle = await Client(old.operations).workflow("main").with_options(id=ID).start(1)
    await _live(handle, seconds, chance)
    (loaded,) = await store.load((await store.shards(APP))[0], [ID])
    await old.close()
    if loaded.head.status in FINISHED:
        return None
    verdict = replay_recording(app_of(after), recording_of(loaded))
    new = engine(after)
    await new.open()
    try:
        return verdict, await _outcome(Client(new.operations).get(ID))
    finally:
        await new.close()


async def _live(handle: Handle[Any], seconds: float, chance: random.Random) -> None:
    """Let time pass, in which one of the events may come."""
    share = chance.random()
    await asyncio.sleep(seconds * share)
    if chance.random() < 0.7:
        await handle.raise_event(chance.choice(EVENTS), "early")
    await asyncio.sleep(seconds * (1 - share))


async def _outcome(handle: Handle[Any]) -> str:
    """Send what the code may wait for until it ends, or cannot."""
    until = asyncio.get_running_loop().time() + SECONDS_MAX
    while asyncio.get_running_loop().time() < until:
        state = await handle.state()
        if state.stalled is not None:
            return "stalled"
        if state.status in FINISHED:
            return "mixed up" if await _is_mixed_up(handle) else "finished"
        for event in EVENTS:
            await handle.raise_event(event, "late")
        await asyncio.sleep(1_000.0)
    return "hung"


async def _is_mixed_up(handle: Handle[Any]) -> bool:
    try:
        await handle.result()
    except WorkflowFailed as error:
        return "MixedUp" in str(error.__cause__)
    return False


# -- code -----------------------------------------------------------------------------------------------------------


def app_of(source: str) -> App:
    """The app that a source text makes: its workflow `main`, and the steps that it may call."""
    app = App(APP)
    names: dict[str, Any] = {name: app.activity(name=name)(_step(name)) for name in STEPS}
    names["slowly"] = app.activity(name="slowly")(_slowly)
    child: Workflow[[int], str] = Workflow(_child(names["a"]), "child", app)
    scope = {
        **names,
        "asyncio": asyncio,
        "child": child,
        "own": own,
        "patched": perdure.patched,
        "set_status": perdure.set_status,
        "wait_for_event": perdure.wait_for_event,
    }
    exec(compile(source, "main.py", "exec"), scope)  # noqa: S102 because the edited code exists only as text
    app.definitions.add(child)
    app.definitions.add(Workflow(scope["main"], "main", app))
    return app


STEPS = ("a", "b", "c", "d", "renamed")


def _step(name: str) -> Callable[[int], Coroutine[Any, Any, str]]:
    async def step(x: int) -> str:
        await asyncio.sleep(1.0)
        return f"{name}{x}"

    return step


async def _slowly(x: int) -> str:
    await asyncio.sleep(40.0)
    return f"slowly{x}"


def _child(a: Activity[[int], str]) -> Callable[[int], Coroutine[Any, Any, str]]:
    async def child(x: int) -> str:
        return await a(x)

    return child


def own(name: str, result: Any) -> Any:
    """The result, which must be that of the step: what a replay that confuses steps would get wrong."""
    if not str(result).startswith((name, "renamed")):
        raise MixedUp(f"{name} was given {result!r}")
    return result


# -- edits ----------------------------------------------------------------------------------------------------------


def edited(source: str, edit: str, chance: random.Random) -> str:
    """The source after an edit, made at a place where it can be made; as it was if there is none."""
    tree = ast.parse(source)
    EDITS[edit](tree, chance)
    return ast.unparse(ast.fix_missing_locations(tree))


def _swap_steps(tree: ast.Module, chance: random.Random) -> None:
    """Swap two neighbours of which one waits."""
    places = [(body, at) for body in _bodies(tree) for at in range(len(body) - 1) if _waits(body[at], body[at + 1])]
    if places:
        body, at = chance.choice(places)
        body[at], body[at + 1] = body[at + 1], body[at]


def _drop_step(tree: ast.Module, chance: random.Random) -> None:
    places = [(body, at) for body in _bodies(tree) for at, each in enumerate(body) if _waits(each)]
    body, at = chance.choice(places)
    dropped = body[at]
    body[at] = _statement("pass")
    if isinstance(dropped, ast.Assign):
        value = "('ab', 'bb')" if isinstance(dropped.targets[0], ast.Tuple) else "None"
        body[at] = ast.Assign(dropped.targets, _expression(value))


def _insert(text: str) -> Callable[[ast.Module, random.Random], None]:
    def insert(tree: ast.Module, chance: random.Random) -> None:
        body = chance.choice(list(_bodies(tree)))
        ends = isinstance(body[-1], ast.Return)
        body.insert(chance.randint(0, len(body) - ends), _statement(text))

    return insert


def _rename_local(tree: ast.Module, chance: random.Random) -> None:
    stored = sorted({n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)})
    renamed = chance.choice(stored)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == renamed:
            node.id = f"{renamed}_of_another_name"


def _call_another(tree: ast.Module, chance: random.Random) -> None:
    owned = chance.choice([call for call in _calls(tree, ("own",)) if isinstance(call.args[1], ast.Await)])
    (call,) = _calls(owned, STEPS)
    assert isinstance(call.func, ast.Name)
    call.func.id = chance.choice([name for name in STEPS if name != call.func.id])
    owned.args[0] = ast.Constant(call.func.id)


def _rename_activity(tree: ast.Module, chance: random.Random) -> None:
    name = chance.choice(sorted({call.func.id for call in _calls(tree, STEPS) if isinstance(call.func, ast.Name)}))
    for call in _calls(tree, (name,)):
        call.func = ast.Name("renamed", ast.Load())


def _change_argument(tree: ast.Module, chance: random.Random) -> None:
    chance.choice(list(_calls(tree, STEPS))).args = [ast.Constant(chance.randint(10, 99))]


def _change_duration(tree: ast.Module, chance: random.Random) -> None:
    calls = list(_calls(tree, ("sleep", "timeout")))
    if calls:
        chance.choice(calls).args = [ast.Constant(chance.choice((0, 0.5, 17, 5_000)))]


def _gather(tree: ast.Module, chance: random.Random) -> None:
    """Wait for a step by way of gather, with another one beside it or alone."""
    awaits = [node for node in ast.walk(tree) if isinstance(node, ast.Await) and _is_call(node.value, STEPS)]
    if awaits:
        node = chance.choice(awaits)
        beside = chance.choice(("", ", d(5)"))
        node.value = _expression(f"first_of(asyncio.gather({ast.unparse(node.value)}{beside}))")
        tree.body.append(_statement("async def first_of(every): return (await every)[0]"))


def _reorder_gathered(tree: ast.Module, chance: random.Random) -> None:
    for call in _calls(tree, ("gather",)):
        call.args.reverse()


def _swap_branches(tree: ast.Module, chance: random.Random) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and node.orelse:
            node.body, node.orelse = node.orelse, node.body


def _turn_branch_round(tree: ast.Module, chance: random.Random) -> None:
    """The same decision, written the other way round."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and node.orelse:
            node.test = ast.UnaryOp(ast.Not(), node.test)
            node.body, node.orelse = node.orelse, node.body


def _move_away(tree: ast.Module, chance: random.Random) -> None:
    """Put the rest of the workflow into a function of its own."""
    body = _main(tree).body
    at = chance.randrange(len(body))
    rest = ast.parse("async def rest(): pass").body[0]
    assert isinstance(rest, ast.AsyncFunctionDef)
    rest.body = body[at:]
    body[at:] = [rest, _statement("return await rest()")]


def _bound_step(tree: ast.Module, chance: random.Random) -> None:
    places = [(body, at) for body in _bodies(tree) for at, each in enumerate(body) if _waits(each)]
    body, at = chance.choice(places)
    bound = ast.parse("async def f():\n    async with asyncio.timeout(1000): pass").body[0].body[0]  # type: ignore[attr-defined]
    bound.body = [body[at]]
    body[at] = bound


def _listen_to_another(tree: ast.Module, chance: random.Random) -> None:
    for call in _calls(tree, ("wait_for_event",)):
        call.args = [ast.Constant("more")]


EDITS: dict[str, Callable[[ast.Module, random.Random], None]] = {
    "swap two steps": _swap_steps,
    "drop a step": _drop_step,
    "insert a step": _insert("await d(0)"),
    "insert a sleep": _insert("await asyncio.sleep(5)"),
    "insert a wait": _insert("await wait_for_event('go')"),
    "insert a status": _insert("set_status('new')"),
    "insert a patched step": _insert("if patched('new'): await d(0)"),
    "insert a patched end": _insert("if patched('new'): return 'ended by the patch'"),
    "rename a local": _rename_local,
    "call another activity": _call_another,
    "rename an activity": _rename_activity,
    "change an argument": _change_argument,
    "change a duration": _change_duration,
    "gather a step": _gather,
    "reorder a gather": _reorder_gathered,
    "swap branches": _swap_branches,
    "turn a branch round": _turn_branch_round,
    "move code away": _move_away,
    "bound a step": _bound_step,
    "listen to another event": _listen_to_another,
}
PATCHED = frozenset(("insert a patched step", "insert a patched end"))
"""Edits that a patch guards, and that therefore stop no run."""
HARMLESS = PATCHED | {
    "rename a local",
    "change an argument",
    "insert a status",
    "turn a branch round",
    "move code away",
}
"""Edits that change nothing that a history holds."""


def _bodies(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.AsyncFunctionDef, ast.If, ast.For, ast.AsyncWith, ast.Try)):
            yield node.body
            if getattr(node, "orelse", None):
                yield node.orelse  # type: ignore[union-attr]


def _main(tree: ast.Module) -> ast.AsyncFunctionDef:
    return next(node for node in tree.body if isinstance(node, ast.AsyncFunctionDef) and node.name == "main")


def _waits(*statements: ast.stmt) -> bool:
    return any(isinstance(node, ast.Await) for each in statements for node in ast.walk(each)) and not any(
        isinstance(each, ast.Return) for each in statements
    )


def _calls(tree: ast.AST, names: tuple[str, ...]) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_call(node, names))


def _is_call(node: ast.expr, names: tuple[str, ...]) -> bool:
    if not isinstance(node, ast.Call):
        return False
    return (node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")) in names


def _statement(text: str) -> ast.stmt:
    return ast.parse(text).body[0]


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body
