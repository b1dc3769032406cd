"""What workflow code may not contain, because a replay could not repeat it: the names, and what to write instead."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Rule:
    """Names that workflow code may not use, why, and what to write instead.

    A name is dotted, from its module: `time.time`. `random.*` is all below it but for `ordinary`,
    `*.name` that method of whatever object, `random.Random()` a call without arguments (a seed makes it
    repeatable), and `pathlib.Path(...).open` a method of what the call returned.
    """

    code: str
    names: tuple[str, ...]
    reason: str
    instead: str
    ordinary: tuple[str, ...] = ()


def names_of(module: str, names: str) -> tuple[str, ...]:
    """The names, which stand in one text, with their module in front."""
    return tuple(f"{module}.{name}" for name in names.split())


_HTTP_VERBS = "get post put patch delete head options request"
SET_ORDER = Rule(
    "PERDURE-L011",
    (),
    "has an order that changes from one process to the next",
    "sorted(...) around it",
)

# Reading os.environ is no rule, because it is how a program is configured, and a constant read at import,
# which nobody can see from here, is no safer.
RULES: tuple[Rule, ...] = (
    Rule(
        "PERDURE-L001",
        (
            *names_of("datetime.datetime", "now utcnow today"),
            "datetime.date.today",
            *names_of("time", "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns"),
            *names_of("time", "process_time process_time_ns thread_time thread_time_ns"),
            *names_of("time", "clock_gettime clock_gettime_ns localtime() gmtime() ctime() asctime()"),
        ),
        "reads the clock, which has moved on when the run is replayed",
        "perdure.now()",
    ),
    Rule(
        "PERDURE-L002",
        ("time.sleep",),
        "blocks the event loop, and is forgotten in a crash",
        "`await asyncio.sleep(...)` (in a generator `yield ctx.create_timer(...)`)",
    ),
    Rule(
        "PERDURE-L003",
        ("random.*", "random.Random()", "numpy.random.*", "numpy.random.default_rng()"),
        "gives other values when the run is replayed",
        "perdure.random()",
        ordinary=("random.Random", "numpy.random.default_rng", "numpy.random.Generator"),
    ),
    Rule(
        "PERDURE-L004",
        ("secrets.*", "os.urandom", "os.getrandom"),
        "gives other values when the run is replayed",
        "an activity that makes the secret",
        ordinary=("secrets.compare_digest",),
    ),
    Rule(
        "PERDURE-L005",
        names_of("uuid", "uuid1 uuid4 uuid6 uuid7 uuid8()"),
        "gives another id when the run is replayed",
        "perdure.uuid4()",
    ),
    Rule(
        "PERDURE-L006",
        (
            *names_of("builtins", "open input"),
            "io.open",
            *names_of("os", "open listdir scandir walk stat mkdir makedirs remove unlink rename replace rmdir"),
            *names_of("pathlib.Path(...)", "open read_text read_bytes write_text write_bytes exists iterdir glob"),
            *("shutil.*", "tempfile.*", "glob.glob", "glob.iglob", "sqlite3.connect"),
            *names_of("anyio", "open_file Path"),
        ),
        "depends on this machine's files or terminal, which a replay elsewhere does not find as they were",
        "an activity that does it",
    ),
    Rule(
        "PERDURE-L007",
        (
            *("socket.*", "urllib.request.*", "http.client.HTTPConnection", "http.client.HTTPSConnection"),
            *names_of("requests", f"{_HTTP_VERBS} Session session"),
            *names_of("httpx", f"{_HTTP_VERBS} stream Client AsyncClient"),
            *names_of("aiohttp", "ClientSession request"),
            *names_of("urllib3", "PoolManager request"),
            *names_of("asyncio", "open_connection start_server open_unix_connection start_unix_server"),
            *names_of("anyio", "connect_tcp connect_unix create_tcp_listener create_unix_listener"),
        ),
        "talks to the network, which answers otherwise, or again, when the run is replayed",
        "an activity that does it",
    ),
    Rule(
        "PERDURE-L008",
        (
            *names_of("subprocess", "run call check_call check_output Popen getoutput getstatusoutput"),
            *names_of("os", "system popen fork forkpty posix_spawn posix_spawnp"),
            *names_of("os", "execl execle execlp execlpe execv execve execvp execvpe"),
            *names_of("os", "spawnl spawnle spawnlp spawnlpe spawnv spawnve spawnvp spawnvpe"),
            "multiprocessing.*",
            *names_of("asyncio", "create_subprocess_exec create_subprocess_shell"),
            *names_of("anyio", "run_process open_process to_process.run_sync"),
        ),
        "starts a process, again each time the run is replayed",
        "an activity that does it",
    ),
    Rule(
        "PERDURE-L009",
        (
            *("threading.*", "_thread.*", "concurrent.futures.*", "*.run_in_executor"),
            *("asyncio.to_thread", "asyncio.run_coroutine_threadsafe", "anyio.to_thread.run_sync"),
        ),
        "uses threads, which the history cannot put in order",
        "an activity (a plain `def` runs in a thread)",
    ),
    Rule(
        "PERDURE-L010",
        (
            *names_of("asyncio", "run Runner new_event_loop"),
            *("anyio.run", "*.run_until_complete", "*.run_forever"),
        ),
        "starts another event loop, whose steps are in no history",
        "`await`",
    ),
    SET_ORDER,
)

_BY_NAME = {name: rule for rule in RULES for name in rule.names}
_ORDINARY = {name for rule in RULES for name in rule.ordinary}


def _prefixes(dotted: str) -> Iterator[str]:
    """`a`, `a.b` of `a.b.c`."""
    return accumulate(dotted.split(".")[:-1], "{}.{}".format)


def rule_for(dotted: str) -> Rule | None:
    """The rule about a dotted name."""
    rule = _BY_NAME.get(dotted)
    if rule or "(" in dotted or dotted in _ORDINARY:
        return rule
    return next((_BY_NAME[f"{prefix}.*"] for prefix in _prefixes(dotted) if f"{prefix}.*" in _BY_NAME), None)


def rule_for_method(name: str) -> Rule | None:
    """The rule about a method of this name, of whatever object."""
    return _BY_NAME.get(f"*.{name}")


_PARENTS = {prefix for name in _BY_NAME for prefix in _prefixes(name.replace("(...)", ""))}
MODULES = tuple(sorted(_PARENTS))
"""The modules of which rules speak, and classes, as their names begin."""
NAMED = frozenset(_PARENTS | {name.removesuffix("()") for name in _BY_NAME})
"""What rules name, but for what they mean by `*`."""
