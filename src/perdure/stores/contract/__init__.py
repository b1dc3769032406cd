"""What the engine needs of a database. The docstrings are the specification; `memory` is its executable form.

Every row belongs to an instance and every instance to a *shard* of its app. A node may write to a run only
while it holds the shard's *lease*: `commit` carries the lease's epoch and is refused as a whole (`Fenced`) if
the store knows a higher one. `create`, `renew`, `deliver`, `report`, `claim` and `touch` need no lease. All calls are
coroutines that may be cancelled only before they have started to write. Any error that leaves open whether a write
happened is `StoreUnavailable`.

Times are integers of microseconds since 1970 UTC, always passed in, but for those that several nodes must agree on: how
long leases, members and claims last is counted by the store's own clock.
"""

from __future__ import annotations

from perdure.stores.contract.bounds import (
    ABOUT_BYTES_MAX,
    ANSWERS_MAX,
    FORMAT,
    MAILBOX_MESSAGES_MAX,
    OLDEST,
    SEEN_MAX,
    STREAM_ITEMS_MAX,
)
from perdure.stores.contract.creations import Claim, Creation, Holder, Permit
from perdure.stores.contract.engine import EngineStore, Ledger, Transactions
from perdure.stores.contract.inspection import Census, Checkup, Inspected, ShardState
from perdure.stores.contract.instances import (
    ENTITY,
    FINISHED,
    UNFINISHED,
    Halt,
    Head,
    Item,
    Published,
    Segment,
    Status,
    Stream,
    shard_number,
)
from perdure.stores.contract.leases import Heart, Leases
from perdure.stores.contract.mail import NOBODY, Delivery, Letter, Mail
from perdure.stores.contract.moving import Movable, Place, Reservation, Side, Track, Whole
from perdure.stores.contract.nodes import Backlog, Beat, Lease, Member, Suspect
from perdure.stores.contract.notices import Notice, Notices, Posted
from perdure.stores.contract.store import Awaited, End, Loaded, Page, Query, Store
from perdure.stores.contract.turns import Append, Batch, Outcome, Report, Touch, Turn
from perdure.stores.contract.waits import (
    ADMITTED,
    ANSWERED,
    CLAIMED,
    HELD,
    IN_FLIGHT,
    IN_QUEUE,
    LOCKED,
    OFFERED,
    OUT,
    QUEUED,
    Due,
    OpenCall,
    Wait,
    WaitKind,
    is_endless,
)
from perdure.stores.contract.wake import Wake

__all__ = [
    "ABOUT_BYTES_MAX",
    "ADMITTED",
    "ANSWERED",
    "ANSWERS_MAX",
    "Append",
    "Awaited",
    "Backlog",
    "Batch",
    "Beat",
    "CLAIMED",
    "Census",
    "Checkup",
    "Claim",
    "Creation",
    "Delivery",
    "Due",
    "ENTITY",
    "End",
    "EngineStore",
    "FINISHED",
    "UNFINISHED",
    "FORMAT",
    "HELD",
    "Halt",
    "Head",
    "Heart",
    "Holder",
    "IN_FLIGHT",
    "IN_QUEUE",
    "Inspected",
    "Item",
    "LOCKED",
    "Lease",
    "Leases",
    "Ledger",
    "Letter",
    "Loaded",
    "MAILBOX_MESSAGES_MAX",
    "Mail",
    "Member",
    "Movable",
    "NOBODY",
    "Notice",
    "Notices",
    "OFFERED",
    "OLDEST",
    "OUT",
    "OpenCall",
    "Outcome",
    "Page",
    "Permit",
    "Place",
    "Posted",
    "Published",
    "QUEUED",
    "Query",
    "Report",
    "Reservation",
    "SEEN_MAX",
    "STREAM_ITEMS_MAX",
    "Segment",
    "ShardState",
    "Side",
    "Status",
    "Store",
    "Stream",
    "Suspect",
    "Touch",
    "Track",
    "Transactions",
    "Turn",
    "Wait",
    "WaitKind",
    "Wake",
    "Whole",
    "is_endless",
    "shard_number",
]
