"""The determinism lint: what it refuses, what it leaves alone, and where it looks."""

import importlib.util
import linecache
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from perdure.sdk.determinism import UNREADABLE, Finding, check_function, check_paths, check_source
from perdure.sdk.rules import RULES


def case(name: str, source: str, *expected: tuple[int, str]) -> object:
    """A module and its findings as (line, end of the code); line 1 is the first of the module."""
    return pytest.param(textwrap.dedent(source).lstrip("\n"), list(expected), id=name)


# Modules whose workflows can also be checked alive: all they import is here, and decorated as they load.
LIVE = [
    case(
        "clock",
        """
        import time, datetime
        @app.workflow
        async def checkout(order):
            started = time.time()
            today = datetime.date.today()
            return datetime.datetime.now(datetime.UTC), datetime.datetime(2030, 1, 1), started, today
        """,
        (4, "L001"),
        (5, "L001"),
        (6, "L001"),
    ),
    case(
        "aliases of a module, a class and a function",
        """
        from datetime import datetime as dt
        from time import monotonic as tick, sleep
        import random as rnd
        from random import choice as pick
        @app.workflow(name="aliases")
        async def aliases(order):
            dt.utcnow(); tick()
            rnd.shuffle(order)
            sleep(1)
            return pick(order)
        """,
        (7, "L001"),
        (7, "L001"),
        (8, "L003"),
        (9, "L002"),
        (10, "L003"),
    ),
    case(
        "imports inside the workflow",
        """
        @app.workflow
        async def inner_imports():
            import random
            from uuid import uuid4 as fresh
            import urllib.request
            urllib.request.urlopen("http://localhost")
            return random.random(), fresh()
        """,
        (6, "L007"),
        (7, "L003"),
        (7, "L005"),
    ),
    case(
        "an import in a nested scope is not seen outside it",
        """
        @app.workflow
        async def scopes(time):
            def early():
                import time
                return time.time()
            return early(), time.time()
        """,
        (5, "L001"),
    ),
    case(
        "parameters and locals shadow",
        """
        import random, time, uuid
        from datetime import datetime
        @app.workflow
        async def shadows(random, *time, open=None, **uuid):
            datetime = order()
            with order() as input:
                input()
            for id in [1]:
                open(id)
            return random.random(), time.sleep(1), uuid.uuid4(), datetime.now()
        """,
    ),
    case(
        "comprehension, walrus, except and match targets shadow only where they are bound",
        """
        import random, time
        @app.workflow
        async def targets(xs):
            numbers = [random.random() for random in xs]
            try:
                [(time := x) for x in xs]
            except ValueError as secrets:
                secrets.token_hex()
            match xs:
                case [uuid, *rest]:
                    uuid.uuid4()
            return time.time(), random.random(), numbers
        """,
        (12, "L003"),
    ),
    case(
        "a class body shadows for itself and not for its methods",
        """
        import random
        @app.workflow
        async def classes():
            class Dice:
                random = fair()
                first = random.random()
                def roll(self):
                    return random.random()
            return Dice
        """,
        (8, "L003"),
    ),
    case(
        "nested functions, lambdas, defaults and comprehensions belong to the workflow",
        """
        import random, time
        @app.workflow
        async def nested(xs):
            def jitter(base=time.time()):
                return base + random.random()
            later = lambda: time.monotonic()
            return [random.randint(0, x) for x in xs], jitter, later
        """,
        (4, "L001"),
        (5, "L003"),
        (6, "L001"),
        (7, "L003"),
    ),
    case(
        "a mention is enough, an annotation or an except clause is not",
        """
        import random, socket, subprocess, time, threading
        @app.workflow
        async def mentions(rng: random.Random, lock: "threading.Lock" = threading.Lock()) -> threading.Thread:
            local: socket.socket
            try:
                clock = time.time
            except (socket.timeout, subprocess.CalledProcessError):
                pass
        """,
        (6, "L001"),
    ),
    case(
        "a seed makes it repeatable",
        """
        import random, time
        from random import Random
        @app.workflow
        async def seeded(seed):
            a = Random(seed).random()
            b = Random().random()
            c = random.Random()
            return a, b, c, time.gmtime(0), time.gmtime()
        """,
        (6, "L003"),
        (7, "L003"),
        (8, "L001"),
    ),
    case(
        "ids and secrets",
        """
        import os, secrets, uuid
        from secrets import choice
        from uuid import UUID
        @app.workflow
        async def ids(name):
            uuid.uuid1(), uuid.uuid4()
            uuid.uuid5(uuid.NAMESPACE_DNS, name), UUID(int=1), secrets.compare_digest(name, name)
            return secrets.token_hex(), os.urandom(8), choice(name)
        """,
        (6, "L005"),
        (6, "L005"),
        (8, "L004"),
        (8, "L004"),
        (8, "L004"),
    ),
    case(
        "files and the terminal",
        """
        import builtins, pathlib
        from io import open as io_open
        from pathlib import Path
        @app.workflow
        async def files(path, document):
            with open(path) as file:
                answer = input("?")
            builtins.open(path), io_open(path)
            document.open(), document.read_text(), pathlib.PurePath(path).name
            return Path(path).read_text(), file, answer
        """,
        (6, "L006"),
        (7, "L006"),
        (8, "L006"),
        (8, "L006"),
        (10, "L006"),
    ),
    case(
        "network",
        """
        import asyncio, http.client, httpx, socket
        from socket import create_connection
        @app.workflow
        async def network(url):
            socket.socket(), create_connection(url)
            httpx.get(url, timeout=httpx.Timeout(5))
            async with httpx.AsyncClient() as client:
                await client.get(url)
            await asyncio.open_connection(url)
            return http.client.HTTPSConnection(url)
        """,
        (5, "L007"),
        (5, "L007"),
        (6, "L007"),
        (7, "L007"),
        (9, "L007"),
        (10, "L007"),
    ),
    case(
        "processes",
        """
        import asyncio, multiprocessing, os, subprocess
        from multiprocessing import Process
        @app.workflow
        async def processes(command):
            subprocess.run(command, stdout=subprocess.PIPE)
            os.system(command); os.getpid()
            multiprocessing.Pool(); Process()
            await asyncio.create_subprocess_exec(command)
            return os.environ["MODE"], os.getenv("MODE"), os.path.join("a", "b")
        """,
        (5, "L008"),
        (6, "L008"),
        (7, "L008"),
        (7, "L008"),
        (8, "L008"),
    ),
    case(
        "threads",
        """
        import asyncio, threading
        import concurrent.futures
        from concurrent.futures import ThreadPoolExecutor as Pool
        @app.workflow
        async def threads(work):
            await asyncio.to_thread(work)
            await asyncio.get_running_loop().run_in_executor(None, work)
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, work)
            threading.Thread(target=work)
            with Pool() as pool, concurrent.futures.ProcessPoolExecutor():
                return pool
        """,
        (6, "L009"),
        (7, "L009"),
        (9, "L009"),
        (10, "L009"),
        (11, "L009"),
        (11, "L009"),
    ),
    case(
        "loops of their own",
        """
        import asyncio
        from asyncio import run
        @app.workflow
        async def loops(work):
            run(work)
            with asyncio.Runner() as runner:
                return runner
        """,
        (5, "L010"),
        (6, "L010"),
    ),
    case(
        "ordinary asyncio",
        """
        import asyncio
        @app.workflow
        async def ordinary(xs):
            await asyncio.sleep(1)
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                tasks = [group.create_task(x) for x in xs]
            done, pending = await asyncio.wait(tasks)
            for task in done:
                await task
            return await asyncio.gather(*xs), asyncio.get_running_loop().time(), pending
        """,
    ),
    case(
        "the order of a set",
        """
        @app.workflow
        async def sets(xs, ys):
            for x in set(xs):
                await x
            for x in {1, 2}: print(x)
            for i, x in enumerate({x for x in xs}): print(x)
            for x in list(set(xs) - ys): print(x)
            for x in frozenset(xs).union(ys): print(x)
            await gather(*(charge(x) for x in set(xs)))
            await gather(*{charge(x) for x in xs})
            return sorted([await charge(x) for x in set(xs)])
        """,
        (3, "L011"),
        (5, "L011"),
        (6, "L011"),
        (7, "L011"),
        (8, "L011"),
        (9, "L011"),
        (10, "L011"),
        (11, "L011"),
    ),
    case(
        "a set whose order does not matter",
        """
        @app.workflow
        async def sets(xs, set_of):
            for x in sorted(set(xs)):
                await x
            for x in set_of(xs):
                await x
            total = sum(x for x in set(xs)), {x for x in {1, 2}}, len({1, 2}), 3 in {1, 2}
            return total, sorted(x + 1 for x in {*xs}), xs - set_of, xs.union(xs)
        @app.workflow
        async def lists(xs, set):
            for x in set(xs):
                await x
        """,
    ),
    case(
        "allowed by line",
        """
        import random, time
        @app.workflow
        async def allowed(xs):
            a = time.time()  # perdure: allow
            b = time.time()  #perdure:allow, because it is only logged
            # perdure: allow
            c = time.time()
            d = "# perdure: allow", time.time()
            e = random.choice(
                xs,
            )  # perdure: allow
            for x in set(xs):  # perdure: allow
                await x
            return a, b, c, d, e, time.time()  # perdure: allowed
        """,
        (7, "L001"),
        (8, "L001"),
        (14, "L001"),
    ),
    case(
        "allowed by function",
        """
        import random, time
        @app.workflow
        async def all_of_it(xs):  # perdure: allow
            def inner():
                return random.random()
            return time.time(), inner()
        @app.workflow
        async def long_signature(
            xs,
        ) -> float:  # perdure: allow
            return time.time()
        @app.workflow
        async def part(xs):
            def inner():  # perdure: allow
                return random.random()
            return time.time(), inner()
        @app.workflow
        async def one_line(xs): return time.time()  # perdure: allow
        """,
        (16, "L001"),
    ),
    case(
        "other functions are not read",
        """
        import random, time
        @app.activity
        async def charge(order):
            return time.time()
        def plain():
            return random.random()
        @app.workflow
        async def checkout(order):
            await charge(order)
            @app.activity
            def pack():
                return time.time()
            return plain(), pack
        """,
    ),
    case(
        "generator style and methods",
        """
        import time
        class Shop:
            @app.workflow
            def monitor(ctx, input):
                text = '''
        not indented: random.random()
        '''
                yield ctx.create_timer(5)
                time.sleep(5)
        """,
        (9, "L002"),
    ),
    case(
        "global and a fallback of an import",
        """
        try:
            import random
        except ImportError:
            random = None
        import time
        @app.workflow
        async def fallback():
            global time
            time = time
            return random.random(), time.time()
        """,
        (10, "L003"),
        (10, "L001"),
    ),
]

# Modules of which only the source is read: what they import need not be installed, or never runs.
SOURCE = [
    case(
        "libraries that need not be installed",
        """
        import aiohttp, requests, numpy as np
        from perdure import random
        import perdure
        import perdure.uuid4
        @app.workflow
        async def libraries(url):
            requests.get(url)
            aiohttp.ClientSession()
            np.random.rand(), np.random.default_rng(7), np.random.default_rng()
            return random(), perdure.random(), perdure.now(), requests.codes.ok
        """,
        (7, "L007"),
        (8, "L007"),
        (9, "L003"),
        (9, "L003"),
    ),
    case(
        "every spelling of the decorator",
        """
        from time import time
        @workflow
        async def bare(): time()
        @workflow(name="x")
        async def called(): time()
        @shop.app.workflow(run_timeout=5)
        @other
        def generator(ctx): yield time()
        @workflows
        async def another(): time()
        @app.workflow.later
        async def deeper(): time()
        """,
        (3, "L001"),
        (5, "L001"),
        (8, "L001"),
    ),
    case(
        "workflows in functions and classes, once each",
        """
        import time
        def build(app, time=None):
            from random import random as roll
            class Flows:
                @app.workflow
                async def flow(self):
                    time.time()
                    return roll()
            @app.workflow
            async def outer():
                @app.workflow
                async def inner():
                    return roll()
                return roll()
        """,
        (8, "L003"),
        (13, "L003"),
        (14, "L003"),
    ),
    case(
        "the package's own modules are not the library's",
        """
        from . import random, time
        from .uuid import uuid4
        from shop.random import choice
        @app.workflow
        async def relative(xs):
            return random.random(), time.time(), uuid4(), choice(xs)
        """,
    ),
    case("not Python", "async def f(:\n", (1, "L000")),
    case("not text", "x = 1\0\n", (1, "L000")),
    case("too deep to read", "x = " + "-" * 5000 + "1\n", (1, "L000")),
    case("empty", ""),
]


def found(findings: list[Finding]) -> list[tuple[int, str]]:
    return [(finding.line, finding.code.removeprefix("PERDURE-")) for finding in findings]


def places(findings: list[Finding]) -> list[tuple[str, int, int]]:
    return [(finding.path, finding.line, finding.column) for finding in findings]


def load(path: Path, source: str, **names: object) -> ModuleType:
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    vars(module).update(names)
    spec.loader.exec_module(module)
    return module


class Marks:
    """Stands where an `App` would: its decorators only keep the functions they are given."""

    def __init__(self) -> None:
        self.workflows: list[Callable[..., object]] = []

    def workflow(self, function: Callable[..., object] | None = None, **options: object) -> object:
        if function is None:
            return self.workflow
        self.workflows.append(function)
        return function

    def activity(self, function: Callable[..., object]) -> Callable[..., object]:
        return function


@pytest.mark.parametrize("source, expected", LIVE + SOURCE)
def test_a_source_has_these_findings(source: str, expected: list[tuple[int, str]]) -> None:
    assert found(check_source(source, "shop.py")) == expected


@pytest.mark.parametrize("source, expected", LIVE)
def test_live_functions_have_the_findings_of_their_source(
    tmp_path: Path, source: str, expected: list[tuple[int, str]]
) -> None:
    path = tmp_path / "live_shop.py"
    marks = Marks()
    load(path, source, app=marks)
    findings = [finding for function in marks.workflows for finding in check_function(function)]
    assert marks.workflows
    assert found(findings) == expected
    assert places(findings) == places(check_source(source, str(path)))


def test_a_live_function_knows_what_its_globals_and_closure_mean(tmp_path: Path) -> None:
    source = textwrap.dedent("""
        import random, time
        from collections import namedtuple
        clock = time.time
        rnd = random
        random = namedtuple("Fair", "random")(lambda: 4)
        NINE = 9
        def build():
            import uuid as ids
            pick = rnd.choice
            async def flow(xs):
                ids.uuid4()
                pick(xs), clock(), rnd.random()
                return random.random(), NINE, unassigned, missing
            yield flow
            unassigned = None
        flow = next(build())
    """).lstrip("\n")
    findings = check_function(load(tmp_path / "closures.py", source).flow)
    assert found(findings) == [(11, "L005"), (12, "L003"), (12, "L001"), (12, "L003")]
    assert [finding.column for finding in findings] == [9, 9, 19, 28]


def test_a_live_function_is_not_accused_of_what_a_library_imports_for_itself(tmp_path: Path) -> None:
    source = textwrap.dedent("""
        import socket, threading, urllib.request
        from enum import IntEnum
        from urllib.parse import quote
        async def flow(text):
            class Colour(IntEnum):
                RED = 1
            return quote(text), Colour
    """)
    assert check_function(load(tmp_path / "innocent.py", source).flow) == []


def test_a_proxy_among_the_globals_is_not_asked_what_it_stands_for(tmp_path: Path) -> None:
    source = textwrap.dedent("""
        class Proxy:
            @property
            def __class__(self):
                raise RuntimeError("nothing is bound here")
        request = Proxy()
        async def flow():
            return request.time()
    """)
    assert check_function(load(tmp_path / "proxied.py", source).flow) == []


def test_wrappers_are_removed(tmp_path: Path) -> None:
    source = textwrap.dedent("""
        import functools, time
        async def flow():
            return time.time()
        @functools.wraps(flow)
        def wrapper():
            return flow()
        class Shop:
            async def flow(self):
                return time.time()
    """).lstrip("\n")
    module = load(tmp_path / "wrapped.py", source)
    assert found(check_function(module.wrapper)) == [(3, "L001")]
    assert found(check_function(module.Shop().flow)) == [(9, "L001")]


def test_a_function_without_a_source_has_no_findings(tmp_path: Path) -> None:
    space: dict[str, Callable[..., object]] = {}
    exec("import time\nasync def typed(): return time.time()", space)
    assert check_function(space["typed"]) == []
    assert check_function(len) == []
    assert check_function(SimpleNamespace) == []
    assert check_function(lambda: [input()]) == []


def test_a_source_that_changed_under_the_program_has_no_findings(tmp_path: Path) -> None:
    path = tmp_path / "edited.py"
    module = load(path, "import time\nasync def flow():\n    return time.time()\n")
    for edited in ("x = (\n1,\n2)\n", "import time\nasync def another():\n    return time.time()\n", ""):
        path.write_text(edited)
        linecache.checkcache(str(path))
        assert check_function(module.flow) == []


def test_a_finding_says_where_why_and_what_instead() -> None:
    (finding,) = check_source("import time as t\n@workflow\nasync def w():\n    x = t.time()\n", "shop.py")
    assert str(finding) == (
        "shop.py:4:9: PERDURE-L001 time.time reads the clock, which has moved on when the run is replayed; "
        "write perdure.now() instead"
    )


def test_every_rule_has_a_code_of_its_own_and_something_to_write_instead() -> None:
    codes = [rule.code for rule in RULES]
    assert len({*codes, UNREADABLE}) == len(codes) + 1
    assert all(rule.reason and rule.instead for rule in RULES)


WORKFLOW = "import time\n@app.workflow\nasync def w():\n    time.sleep(1)\n"


def test_paths_are_files_and_trees(tmp_path: Path) -> None:
    places = [
        "a.py",
        "pkg/b.py",
        "pkg/deep/c.py",
        "notes.txt",
        ".venv/d.py",
        ".git/e.py",
        "pkg/__pycache__/f.py",
    ]
    for place in [*places, "env/lib/g.py", "env/pyvenv.cfg", "script"]:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(WORKFLOW)
    (tmp_path / "broken.py").write_text("def f(:\n")
    (tmp_path / "latin.py").write_bytes(b"# coding: latin-1\n" + WORKFLOW.encode() + b'    "\xe9"\n')
    (tmp_path / "mojibake.py").write_bytes(b'"\xe9"\n')
    (tmp_path / "dangling.py").symlink_to(tmp_path / "nowhere.py")

    findings = list(check_paths([tmp_path, str(tmp_path / "script")]))

    assert [(os.path.relpath(f.path, tmp_path), f.line, f.code.removeprefix("PERDURE-")) for f in findings] == [
        ("a.py", 4, "L002"),
        ("broken.py", 1, "L000"),
        ("dangling.py", 1, "L000"),
        ("latin.py", 5, "L002"),
        ("mojibake.py", 1, "L000"),
        ("pkg/b.py", 4, "L002"),
        ("pkg/deep/c.py", 4, "L002"),
        ("script", 4, "L002"),
    ]


def test_reading_a_source_imports_nothing_it_names(tmp_path: Path) -> None:
    """In a process of its own, because this one has long imported what the rules name."""
    program = textwrap.dedent(f"""
        import sys
        from perdure.sdk.determinism import check_source
        text = "import multiprocessing, httpx\\n@workflow\\ndef w(): httpx.get(multiprocessing.Pool())\\n"
        assert len(check_source(text, {str(tmp_path)!r})) == 2
        print(*sorted({{"httpx", "multiprocessing", "tempfile"}} & sys.modules.keys()))
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == ""
