"""New instances, and the names and starts that they take."""

from __future__ import annotations

import msgspec

from perdure.stores.contract.instances import Head
from perdure.stores.contract.mail import Mail
from perdure.stores.contract.waits import Wait


class Claim(msgspec.Struct, frozen=True, gc=False):
    """A name that an instance takes at its creation, so that no other is created under it meanwhile.

    It holds while the time is before `until`, or with `while_pending` for as long as the instance is PENDING, and ends
    with the instance's rows. Names are of a shard: whoever creates puts instances that share one into one shard.
    """

    name: str
    until: int = 0
    while_pending: bool = False


class Holder(msgspec.Struct, frozen=True, gc=False):
    """Which instance holds a claim, at which of its turns."""

    id: str
    execution: str
    sequence: int
    created: int


class Permit(msgspec.Struct, frozen=True, gc=False):
    """One start that the rate of a queue counts, from `at` to `until`, when it may be forgotten."""

    queue: str
    at: int
    until: int


class Creation(msgspec.Struct, frozen=True, gc=False):
    """A new instance: a PENDING head of sequence 0, the mail that starts it, and waits (delayed start).

    `parent_call` is (parent's execution, generation, number) of a child, kept with the instance. The same
    creation again, by `execution` or by `parent_call`, changes nothing and is no conflict, also when the
    instance is finished. `refusal` is mail that a commit sends instead if the id is taken by an instance that
    is not finished, or by any if `unique`. `claim` is what it takes, in `Store.create` alone. One that `joins`, in a
    commit alone, asks for an instance that is there: its mail is delivered to the one that is not finished, and only if
    there is none is it created.
    """

    head: Head
    mail: Mail
    waits: tuple[Wait, ...] = ()
    parent_call: str | None = None
    refusal: Mail | None = None
    unique: bool = False
    claim: Claim | None = None
    joins: bool = False
