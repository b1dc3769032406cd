"""What a commit and a report write, and what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from perdure.codec import Payload
from perdure.stores.contract.creations import Creation, Permit
from perdure.stores.contract.instances import Head, Published
from perdure.stores.contract.mail import Mail
from perdure.stores.contract.nodes import Lease
from perdure.stores.contract.notices import Notice
from perdure.stores.contract.waits import Wait


class Turn(msgspec.Struct, gc=False):
    """All that one turn of one instance writes; it happens as a whole or not at all.

    Condition: the stored head has this `execution`, `generation` and `sequence == expected`. `expected` None
    is a start: the id must be free, or the finished run of another execution have it, whose rows are then erased
    (`exists` otherwise). So a start that arrives once more when its run has ended does not begin it again.
    Effects, in this order: `erase` (continue-as-new) drops history and waits of the run that ends, and the streams of
    runs before it; its own streams, mail, seen ids and what is published stay; `head` replaces the stored head (None:
    only `sequence = expected + 1` and `updated = at`); `segment` is appended under the new head's sequence, higher
    than that of any segment there; waits in `closed` go, those in `changed` are replaced if they are there, those in
    `opened` are inserted; mail with keys in `consumed` goes; the keys in `seen` are remembered, each newer than the
    one before; each of `published` takes the place of what has its name, and answers beyond ANSWERS_MAX go, oldest
    first; `permits` are kept, and others of the same queue go whose `until` is not after the turn's `at`; `notices` are
    kept in order, where the store has `Notices`.
    Numbers and keys that are not there are ignored. Then `created` are created and `mail` is delivered as
    `create` and `deliver` would, each in its own app's shard, except that nothing is raised: undeliverable mail is
    dropped, refused creations send their `refusal`. It happens in the same transaction if the store `spans_shards`. If
    not, what is for another shard is written with the turn and leaves through an outbox: soon, in order for each sender
    and receiver, and at least once, whichever node dies.
    `is_all_new` is the store's to set when it commits: each of `created` that does not join was not there, and is as it
    was given, so that nothing needs to be read of it. A store may leave it out.
    """

    shard: int
    id: str
    execution: str
    generation: int
    expected: int | None
    at: int
    head: Head | None = None
    segment: bytes | None = None
    opened: Sequence[Wait] = ()
    changed: Sequence[Wait] = ()
    closed: Sequence[int] = ()
    consumed: Sequence[str] = ()
    seen: Sequence[str] = ()
    mail: Sequence[Mail] = ()
    created: Sequence[Creation] = ()
    published: Sequence[Published] = ()
    permits: Sequence[Permit] = ()
    notices: Sequence[Notice] = ()
    erase: bool = False
    is_all_new: bool = False


class Append(msgspec.Struct, frozen=True, gc=False):
    """Items that an attempt of an open call adds to the call's stream; it happens as a whole or not at all.

    Condition: the stored head has this `execution` and `generation` and is not finished; its wait `number` is an
    activity and has this `attempt`; the last item of the stream has the offset `after` (0: there is none). So neither
    an attempt that is no longer the call's nor a repetition adds anything. Effect: `values` become the items of the
    offsets after + 1 and on, of `at`. It is no turn: the head stays as it is.
    """

    shard: int
    id: str
    execution: str
    generation: int
    number: int
    attempt: int
    after: int
    at: int
    values: Sequence[Payload]


class Batch(msgspec.Struct, gc=False):
    """What a commit writes under one lease: turns of different instances, appends of different calls."""

    lease: Lease
    turns: Sequence[Turn]
    appends: Sequence[Append] = ()


class Report(msgspec.Struct, frozen=True, gc=False):
    """The end of an attempt that ran elsewhere than on the owner, as `mail` to the run that scheduled the call.

    Condition: the stored head has the mail's `execution` and `generation` and is not finished; its wait `number` is an
    activity that is IN_FLIGHT, at this `attempt` (None: at any); with a `token`, one that is CLAIMED under it instead,
    also when the claim has run out. The wait becomes ANSWERED and the mail is delivered.
    """

    number: int
    attempt: int | None
    mail: Mail
    token: str | None = None


class Touch(msgspec.Struct, frozen=True, gc=False):
    """A sign of life of an attempt that was claimed: which call of which run, under which token; `details` to keep."""

    shard: int
    instance: str
    execution: str
    generation: int
    number: int
    token: str
    details: Payload | None = None


class Outcome(StrEnum):
    """What became of one turn, append or report: `conflict` and `exists` mean its condition did not hold.

    Two are never a store's answer but the committer's: `no-room` for a start that a full store refused, `unwritable`
    for a turn at which the store failed in a way that it should not.
    """

    COMMITTED = "committed"
    FENCED = "fenced"
    CONFLICT = "conflict"
    EXISTS = "exists"
    TOO_LARGE = "too-large"
    NO_ROOM = "no-room"
    UNWRITABLE = "unwritable"
