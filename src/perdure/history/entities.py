"""What an entity is to others: its id, its first head, what is sent to it, and how it looks from outside."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from perdure.codec import Payload
from perdure.history.draft import Draft
from perdure.history.events import EntityCalled, EntityFailed, Failure, encode_event
from perdure.stores.contract import ENTITY, Creation, Head, Mail, Status

NAME_CHARS_MAX = 256
"""Bound of the name of an entity: the class of those that share code."""
KEY_CHARS_MAX = 100
"""Bound of the key of an entity, which tells it from others of its name; Microsoft's scheduler has the same."""
MODIFIED = "modified"
"""Under this name `Head.more` keeps when an operation of the entity ended last."""


class EntityState(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of an entity. `backlog`: messages that wait for it, as far as this node knows. Times in microseconds
    since 1970 UTC."""

    id: str
    modified: int
    state: Payload | None = None
    backlog: int = 0
    locked_by: str | None = None

    @property
    def exists(self) -> bool:
        """Whether there is anything to tell of it."""
        return self.state is not None or self.backlog > 0 or self.locked_by is not None


class EntityQueue(msgspec.Struct, frozen=True):
    """What waits for an entity, as its owner sees it: how many operations, and since when the first of them. `batch`:
    the names of those that its code has under way, since `begun`. Times in microseconds since 1970 UTC."""

    count: int
    since: int
    batch: tuple[str, ...] = ()
    begun: int = 0
    lacks_code: bool = False
    """Whether nobody here has code for it."""


def is_entity(id: str) -> bool:
    """Whether an id is an entity's, or would be if it were well-formed: instances have no @ in front."""
    return id.startswith("@")


def name_of(id: str) -> str:
    """The name in an id that `fault_of` finds nothing wrong with."""
    return id[1:].partition("@")[0]


def fault_of(id: str) -> str | None:
    """What is wrong with the id of an entity, as a sentence; None for nothing."""
    name, separator, key = id[1:].partition("@")
    if not is_entity(id) or not separator or not name:
        return f"{id[:200]!r} is no id of an entity; write @name@key"
    if len(name) > NAME_CHARS_MAX:
        return f"the name in the id of an entity has a length of {len(name):,}; at most {NAME_CHARS_MAX} characters"
    if len(key) > KEY_CHARS_MAX:
        return f"the key in the id of an entity has a length of {len(key):,}; at most {KEY_CHARS_MAX} characters"
    return None


def entity_head(app: str, id: str, execution: str, at: int) -> Head:
    """The head of an entity that has taken no turn yet."""
    return Head(id, app, name_of(id), Status.PENDING, execution, 1, 0, created=at, updated=at, kind=ENTITY)


def modified_of(head: Head) -> int:
    """When an operation ended last; the time of its creation if none has."""
    return int(head.more.get(MODIFIED, head.created))


def operate(draft: Draft, id: str, event: Any, execution: str, generation: int, app: str | None = None) -> None:
    """Send an operation, or a request for a lock, to an entity, which comes to be if it is not there.

    `app` None: one of the sender's.

    `execution` and `generation` are those of the run that hears the answer. Its mail names them, so the bound of the
    mailbox does not drop it; the entity has a bound of its own, and refuses in words.
    """
    key = draft.next_key()
    mail = Mail(id, key, encode_event(event), draft.at, execution, generation, app)
    head = entity_head(app or draft.head.app, id, hashed(key), draft.at)
    draft.created.append(Creation(head, mail, joins=True))


def answer_failure(draft: Draft, call: EntityCalled, failure: Failure, execution: str, generation: int) -> None:
    """Tell the run that has called."""
    if call.parent_instance is not None:
        event = EntityFailed(at=draft.at, request=call.request, failure=failure, number=call.number)
        draft.send(call.parent_instance, event, execution, generation, app=call.parent_app)


def hashed(text: str) -> str:
    """An execution id that follows from a text: 32 hex digits, BLAKE2b."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
