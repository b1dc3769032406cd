"""What the workers of other nodes take, as this node hears it."""

from __future__ import annotations

from perdure.engine.peers import takes_of_others
from perdure.history.nodes import About, told
from perdure.stores.contract import Member


def member(owner: str, *takes: str, has_code: bool = True) -> Member:
    return Member(owner, has_code, about=told(About(takes=list(takes))))


def test_neither_the_node_itself_nor_one_without_workers_counts() -> None:
    members = [member("me", "a"), member("other", "b", "c"), member("empty", "d", has_code=False), Member("old")]
    assert takes_of_others(members, "me") == {"other": frozenset(("b", "c")), "old": frozenset()}
