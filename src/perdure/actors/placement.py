"""How many shards a node should own: everybody computes the same from who lives, so nobody has to lead."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.stores.contract import Member


def share(members: Sequence[Member], owner: str, shards: int) -> int:
    """The fair share of a member, by its name: those with the app's code divide all shards among them.

    Without any such member, all members do, because there are turns that need no code. Shares differ by one at most,
    and the first by name have the larger ones.
    """
    able = sorted({member.owner for member in members if member.has_code})
    chosen = able or sorted({member.owner for member in members})
    if owner not in chosen:
        return 0
    least, rest = divmod(shards, len(chosen))
    return least + (chosen.index(owner) < rest)
