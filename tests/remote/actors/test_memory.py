"""What an actor keeps, what it is asked, and what programs tell of the actors that they host."""

import msgspec
import pytest
from msgspec import Raw

from perdure.clock import SECOND
from perdure.codec import JSON, Payload
from perdure.errors import InvalidArgument
from perdure.remote.actors import memory as memories
from perdure.remote.actors.host import Hosting, actor_of, entity_of, read_config
from perdure.remote.actors.memory import Asked, Memory, Put, Remove, check, memory_of
from perdure.remote.actors.operations import (
    Forget,
    Method,
    Remind,
    Reminded,
    Timed,
    read_operation,
    write_operation,
)

NOW = 1_900_000_000 * SECOND


def test_a_transaction_is_kept_and_comes_back():
    kept = Memory({}, {})
    kept.apply([Put("a", b'{"n": 1}'), Put("b", b"\xff\x00", 10), Put("c", b"3"), Remove("c"), Remove("none")], NOW)
    again = memory_of(kept.payload(NOW))
    assert again == kept
    assert (again.get("a", NOW).data, again.get("b", NOW).data, again.get("c", NOW)) == (b'{"n": 1}', b"\xff\x00", None)
    assert again.get("b", NOW + 10 * SECOND) is None
    assert set(memory_of(again.payload(NOW + 10 * SECOND)).keys) == {"a"}


def test_an_actor_that_keeps_nothing_has_no_state():
    kept = Memory({}, {})
    kept.apply([Put("a", b"1", 1)], NOW)
    assert kept.payload(NOW + SECOND) is None
    assert memory_of(None) == Memory({}, {})
    with pytest.raises(InvalidArgument, match="was not written as one of Dapr's"):
        memory_of(Payload(JSON, None, Raw(b"[1]")))


def test_bounds_of_a_transaction(monkeypatch):
    monkeypatch.setattr(memories, "KEYS_MAX", 2)
    kept = Memory({}, {})
    kept.apply([Put("a", b"1"), Put("b", b"2")], NOW)
    check([Put("a", b"3"), Remove("b")], kept)
    for changes, part in (
        ([Put("c", b"1")], "at most 2 keys"),
        ([Put("", b"1")], "1 to 1,024 characters"),
        ([Remove("x" * 1_025)], "1 to 1,024 characters"),
        ([Remove("a")] * 1_001, "at most 1,000"),
    ):
        with pytest.raises(InvalidArgument, match=part):
            check(changes, kept)


def test_reminders_are_kept_as_they_were_asked_for(monkeypatch):
    kept = Memory({}, {})
    asked = Asked(name="wake", due_time="5s", period="R3/PT1S", ttl="PT1M", data=Raw(b'"c29vbg=="'))
    assert kept.remind(asked, NOW) == (NOW + 5 * SECOND, SECOND)
    found = memory_of(kept.payload(NOW)).reminders["wake"]
    assert (found.due_time, found.period, found.left, found.ends) == ("5s", "R3/PT1S", 3, NOW + 65 * SECOND)
    with pytest.raises(InvalidArgument, match="not to be overwritten"):
        kept.remind(msgspec.structs.replace(asked, is_new=True), NOW)
    monkeypatch.setattr(memories, "REMINDERS_MAX", 1)
    with pytest.raises(InvalidArgument, match="unregister some"):
        kept.remind(msgspec.structs.replace(asked, name="other"), NOW)


@pytest.mark.parametrize(
    "asking",
    [
        Method("Add", b'{"by": 1}'),
        Method("Add", b"\xff"),
        Method("Get", b""),
        Reminded("a/b"),
        Timed("t", 7, Asked(name="t", callback="ticked", data=Raw(b'{"by":2}'))),
        Remind(Asked(name="wake", due_time="5s")),
        Forget(["wake"]),
        Forget(None),
    ],
)
def test_operations_are_read_as_they_were_written(asking):
    assert read_operation(*write_operation(asking)) == asking


@pytest.mark.parametrize("operation, input", [("/nothing", b"{}"), ("/register", b'{"no": 1}'), ("Add", b"1")])
def test_other_operations_are_refused(operation, input):
    with pytest.raises(InvalidArgument):
        read_operation(operation, Payload(JSON, None, Raw(input)))
    with pytest.raises(InvalidArgument, match="no / first"):
        write_operation(Method("/state", b""))


def test_an_actor_is_an_entity():
    assert actor_of(entity_of("Counter", "a@b/c")) == ("Counter", "a@b/c")
    for type, id in (("", "1"), ("a@b", "1"), ("a/b", "1"), ("Counter", ""), ("Counter", "x" * 101)):
        with pytest.raises(InvalidArgument):
            entity_of(type, id)


def test_what_a_program_hosts():
    config = {
        "entities": ["Plain", "Own"],
        "actorIdleTimeout": "0h10m0s0ms0μs",
        "reentrancy": {"enabled": True},
        "entitiesConfig": [{"entities": ["Own"], "actorIdleTimeout": "5s", "reentrancy": {"enabled": False}}],
        "remindersStoragePartitions": 3,
    }
    assert read_config(msgspec.json.encode(config)) == {"Plain": Hosting(600.0, 32), "Own": Hosting(5.0, None)}
    assert read_config(b"") == {}
    for wrong in (b"[", b'{"entities": 5}', b'{"entities": ["a@b"]}', b'{"entities": [], "actorIdleTimeout": "soon"}'):
        with pytest.raises(InvalidArgument):
            read_config(wrong)
