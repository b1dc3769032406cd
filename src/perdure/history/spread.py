"""Which of a turn's calls any node of the app may run, because the owner has no room for their attempts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import msgspec
from msgspec.structs import replace

from perdure.history.draft import Draft
from perdure.history.options import decode_options
from perdure.stores.contract import HELD, OFFERED, Wait, WaitKind


class Room(msgspec.Struct, frozen=True):
    """For how many attempts more a node has room, in all, and of those activities whose number it bounds."""

    total: int
    names: Mapping[str, int] = {}


def spread(draft: Draft, room: Room, has_code: Callable[[str], bool]) -> int:
    """Offer the calls beyond the owner's room for attempts; how many it keeps that begin at once.

    `has_code` tells whether an activity of this name is one that every node with the app's code can run.
    """
    kept, names = 0, Counter[str]()
    for number, wait in draft.opened.items():
        if wait.kind != WaitKind.ACTIVITY or wait.state != HELD:
            continue
        if _has_room(room, kept, names, wait.name) or not _is_for_anybody(wait, has_code):
            kept += 1
            names[wait.name] += 1
        else:
            draft.opened[number] = replace(wait, state=OFFERED)
    for place, wait in enumerate(draft.changed):
        # only those that are tried again, because others that change may be running here
        if wait.number in draft.retried and wait.state == HELD and not _has_room(room, kept, names, wait.name):
            draft.changed[place] = replace(wait, state=OFFERED) if _is_for_anybody(wait, has_code) else wait
    return kept


def _has_room(room: Room, kept: int, names: Counter[str], name: str) -> bool:
    return kept < room.total and names[name] < room.names.get(name, room.total)


def _is_for_anybody(wait: Wait, has_code: Callable[[str], bool]) -> bool:
    """Whether the call asks neither for the code of another app nor for workers of one version."""
    if wait.on is not None or not has_code(wait.name):
        return False
    try:
        label = decode_options(wait.options).label
    except ValueError:
        return False  # because the audit of the next replay tells of it
    return label is None or (label.version is None and label.run_version is None)
