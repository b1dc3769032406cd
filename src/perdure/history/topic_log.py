"""The log of a partition: which pages it has, where each group is in it, and what may be forgotten.

A page is what one turn has appended. It is kept under a name of its own that a load does not read, so a backlog costs
disk and not memory; names come again in a ring, so what every group has passed is overwritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Raw

from perdure.codec import JSON, Payload
from perdure.history.events import MessagePublished
from perdure.history.subscribing import Begin, SubscribeOptions
from perdure.stores.contract import Published

PAGE_MESSAGES_MAX = 64
"""Messages of one page; a turn that appends more writes several."""
PAGE_BYTES_MAX = 256 * 1024
"""Bytes of the data on one page; a single message may be larger."""
RING_PAGES = 256
"""Names that the ring of a new log has. It doubles when a backlog needs more, and keeps its size then."""
TRIM_PAGES_MAX = 256
"""Pages that one turn forgets; more go with the next."""
GROUPS_MAX = 100
"""Groups of one topic."""
EMPTY = b"[]"
"""What stands where a page was."""


class Pending(msgspec.Struct, frozen=True, array_like=True):
    """A message that its group has come past and not done: `failed` attempts so far, and when the next one is `due`.

    `unheard`: handings out that were written down since then and of which nothing was heard.
    """

    position: int
    failed: int = 0
    due: int = 0
    unheard: int = 0


class Group(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a group is. Everything before the position `next` is done but for what is `pending`.

    `left`: messages not done, `dead`: those given up.
    """

    options: SubscribeOptions
    next: int
    left: int = 0
    dead: int = 0
    pending: tuple[Pending, ...] = ()

    @property
    def lowest(self) -> int:
        """The first position that it still needs."""
        return min([self.next, *(one.position for one in self.pending)])


class Ring(msgspec.Struct, frozen=True, array_like=True):
    """From the page `first` on, pages have one of `size` names."""

    first: int
    size: int


class Log(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the head of a partition keeps. Pages from `first` to before `next` are kept; `count` messages were appended
    so far."""

    first: int = 0
    next: int = 0
    count: int = 0
    rings: tuple[Ring, ...] = (Ring(0, RING_PAGES),)
    groups: dict[str, Group] = {}


class Page(msgspec.Struct, frozen=True, array_like=True):
    """Messages that were appended together; `base` were appended before them."""

    base: int
    messages: list[MessagePublished]


_pages = msgspec.json.Decoder(Page)
_logs = msgspec.json.Decoder(Log)


def decode_page(data: bytes) -> Page | None:
    """None for a page that is not kept any more. Raises ValueError for what is none."""
    return None if data == EMPTY else _pages.decode(data)


def encode_log(log: Log) -> Payload:
    return Payload(JSON, None, Raw(msgspec.json.encode(log)))


def decode_log(stored: Payload | None) -> Log:
    """Raises ValueError for what is none."""
    return _logs.decode(stored.data) if stored is not None else Log()


def has_left(stored: Payload | None) -> bool:
    """Whether a group has messages that it has not done."""
    try:
        return any(group.left for group in decode_log(stored).groups.values())
    except ValueError:
        return False  # because whoever loads it tells that


def size_of(message: MessagePublished) -> int:
    """Bytes of its data."""
    return memoryview(message.data.data).nbytes if message.data is not None else 0


# -- positions: a page's number and a place on it ---------------------------------------------------------------------


def position_of(page: int, place: int = 0) -> int:
    return page * PAGE_MESSAGES_MAX + place


def page_of(position: int) -> int:
    return position // PAGE_MESSAGES_MAX


def placed(number: int, page: Page) -> Iterable[tuple[int, MessagePublished]]:
    """The messages of a page with their positions."""
    start = position_of(number)
    return ((start + place, message) for place, message in enumerate(page.messages))


# -- the ring ---------------------------------------------------------------------------------------------------------


def name_of(log: Log, page: int) -> str:
    """Under which name a page is kept."""
    ring = next(ring for ring in reversed(log.rings) if ring.first <= page)
    return f"page.{ring.first}.{(page - ring.first) % ring.size}"


def _grown(log: Log) -> Log:
    """The log with a name for its next page that no page has which is kept."""
    ring = log.rings[-1]
    if log.next - max(log.first, ring.first) < ring.size:
        return log
    kept = tuple(each for each, later in zip(log.rings, log.rings[1:], strict=False) if later.first > log.first)
    return msgspec.structs.replace(log, rings=(*kept, ring, Ring(log.next, ring.size * 2)))


# -- what changes it --------------------------------------------------------------------------------------------------


def append(log: Log, messages: Sequence[MessagePublished]) -> tuple[Log, dict[int, Page]]:
    """The log with these messages at its end, and the pages that hold them, by number. Every group has them left."""
    pages: dict[int, Page] = {}
    for part in _parts(messages):
        log = _grown(log)
        pages[log.next] = Page(log.count, part)
        log = msgspec.structs.replace(log, next=log.next + 1, count=log.count + len(part))
    groups = {
        name: msgspec.structs.replace(group, left=group.left + len(messages)) for name, group in log.groups.items()
    }
    return msgspec.structs.replace(log, groups=groups), pages


def _parts(messages: Sequence[MessagePublished]) -> Iterable[list[MessagePublished]]:
    part: list[MessagePublished] = []
    size = 0
    for message in messages:
        taken = size_of(message)
        if part and (len(part) == PAGE_MESSAGES_MAX or size + taken > PAGE_BYTES_MAX):
            yield part
            part, size = [], 0
        part.append(message)
        size += taken
    if part:
        yield part


def written(log: Log, pages: dict[int, Page]) -> list[Published]:
    """The rows of new pages."""
    return [Published(name_of(log, number), msgspec.json.encode(page)) for number, page in pages.items()]


def join(log: Log, name: str, options: SubscribeOptions, base: int) -> Log:
    """The log with a group of this name and these options; `base`: messages appended before the first page kept."""
    known = log.groups.get(name)
    if known is not None:
        group = msgspec.structs.replace(known, options=options)
    elif options.begin == Begin.NEWEST:
        group = Group(options, position_of(log.next))
    else:
        group = Group(options, position_of(log.first), log.count - base)
    return msgspec.structs.replace(log, groups={**log.groups, name: group})


def leave(log: Log, name: str) -> Log:
    """The log without a group."""
    return msgspec.structs.replace(log, groups={k: group for k, group in log.groups.items() if k != name})


def trim(log: Log) -> tuple[Log, list[Published]]:
    """The log without the pages that every group has passed, and what to write in their place. Without a group
    everything is kept for the first one."""
    if not log.groups:
        return log, []
    passed_by_all = min(page_of(group.lowest) for group in log.groups.values())
    first = min(passed_by_all, log.first + TRIM_PAGES_MAX)
    if first <= log.first:
        return log, []
    passed = [Published(name_of(log, page), EMPTY) for page in range(log.first, first)]
    return msgspec.structs.replace(log, first=first), passed
