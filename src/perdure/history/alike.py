"""Which failed and stalled instances have the same failure: what of it is the same each time, and the groups."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime

import msgspec

from perdure.clock import to_datetime
from perdure.history.events import Failure
from perdure.history.state import InstanceState
from perdure.stores.contract import Head

MESSAGE_CHARACTERS_MAX = 300
"""Characters of a message by which failures are told apart, after what differs each time was taken out."""
LOOKED_AT_CHARACTERS_MAX = 20_000
"""Characters of a message, and of a stack, that are looked at: workers of other languages send what they like."""
FAILURES_LOOKED_MAX = 10_000
"""Failed instances, and as many stalled ones, that one look may take in; the newest."""
FINGERPRINT_CHARACTERS = 10
NAMES_MAX = 5
"""How many of the workflows that share a failure a group names."""
CAUSES_MAX = 16
"""How many causes down a chain is followed."""
RERUN_ID_BYTES_MAX = 512
"""Bound of an instance's id; the rerun of one whose id is nearly as long has the digest of it."""
_RERUN = ".rerun"

# Compiled at their first use, because every program imports this module and few look at failures.
_DIFFERENT_EACH_TIME = (
    (r"(?i)\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", "<uuid>"),
    (r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?", "<time>"),
    (r"(?i)\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{8,}\b", "<hex>"),
    # Names alone stay, because KeyError: 'price' and KeyError: 'name' are two failures.
    # An apostrophe within a word begins no text; that of bytes such as b'' does.
    (r"(?:(?<!\w)|(?<=\bb))'(?![A-Za-z_.]{1,40}')[^'\n]{1,200}'", "<text>"),
    (r"\"(?![A-Za-z_.]{1,40}\")[^\"\n]{1,200}\"", "<text>"),
    (r"(?i)0x[0-9a-f]+|\d+(?:[.,]\d+)*", "<n>"),
)
_PYTHON_FRAME = r'File "([^"\n]+)", line (\d+), in ([^\n]+)(?:\n {4,}([^\n]+))?'
_OTHER_FRAME = r"(?m)^[^\S\n]*at ([^\n]+)"


class FailureGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Instances that failed, or stand still, alike.

    `sentence` is the error with its parts that differ each time as `<n>`, `<text>` and so on; `place` is the line of
    code that raised it. `count` of them were seen between `first` and `last`; `rerun` of them have been rerun since.
    `ids` are those that have not, oldest first; `going` are reruns that are not finished.
    """

    fingerprint: str
    sentence: str
    place: str | None
    workflows: list[str]
    is_stalled: bool
    count: int
    rerun: int
    first: datetime
    last: datetime
    example: str
    ids: list[str] = []
    going: list[str] = []


class FailureQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which failures: of the newest `limit` failed and `limit` stalled instances of workflow `name`, those that failed
    after `since` (microseconds since 1970 UTC) and have the `fingerprint`. None is any."""

    name: str | None = None
    since: int | None = None
    fingerprint: str | None = None
    limit: int = 1_000


class Failed(msgspec.Struct, frozen=True):
    """An instance that failed or stands still: why, since when, and its rerun (None: there is none)."""

    head: Head | InstanceState
    failure: Failure
    at: int
    rerun: Head | InstanceState | None = None

    @property
    def is_stalled(self) -> bool:
        return self.head.finished is None


UNKNOWN = Failure(type="Unknown", message="the history tells no failure")


def of_stalled(head: Head | InstanceState) -> Failed:
    """One that stands still."""
    halt = head.stalled
    assert halt is not None, f"{head.id} was found among the stalled ones"
    stack = f"at {halt.line}" if halt.line else None
    return Failed(head, Failure(type=halt.reason, message=halt.description or "", stack=stack), halt.since)


class Retried(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a group. `canary` is the instance that went first; `hitch` says why the others did not follow,
    None if they did; `count` instances were rerun or resumed, the canary among them. `refused` names those that cannot
    be rerun, because they had locked entities or their history is not whole."""

    canary: str
    count: int
    hitch: str | None = None
    refused: list[str] = []


class Likeness(msgspec.Struct, frozen=True):
    """What failures have in common that are the same."""

    sentence: str
    place: str | None
    fingerprint: str


def rerun_id(id: str) -> str:
    """The id under which a failed instance is rerun with its group, so that nobody reruns it twice."""
    named = f"{id}{_RERUN}"
    if len(named.encode()) <= RERUN_ID_BYTES_MAX:
        return named
    return f"{hashlib.sha256(id.encode()).hexdigest()}{_RERUN}"


def groups(found: Iterable[Failed]) -> list[FailureGroup]:
    """Groups of the same failure, the largest first."""
    alike: dict[str, tuple[Likeness, list[Failed]]] = {}
    for failed in found:
        likeness = likeness_of(failed.failure, failed.head.id)
        alike.setdefault(likeness.fingerprint, (likeness, []))[1].append(failed)
    all_of_them = [_group(likeness, members) for likeness, members in alike.values()]
    return sorted(all_of_them, key=lambda group: (-group.count, -group.last.timestamp()))


def _group(likeness: Likeness, members: list[Failed]) -> FailureGroup:
    members = sorted(members, key=lambda failed: (failed.at, failed.head.id))
    rerun = [failed.rerun for failed in members if failed.rerun is not None]
    return FailureGroup(
        fingerprint=likeness.fingerprint,
        sentence=likeness.sentence,
        place=likeness.place,
        workflows=sorted({failed.head.name for failed in members})[:NAMES_MAX],
        is_stalled=members[0].is_stalled,
        count=len(members),
        rerun=len(rerun),
        first=to_datetime(members[0].at),
        last=to_datetime(members[-1].at),
        example=members[-1].head.id,
        ids=[failed.head.id for failed in members if failed.rerun is None],
        going=[head.id for head in rerun if head.finished is None],
    )


def likeness_of(failure: Failure, id: str) -> Likeness:
    """The failure without what differs each time. `id` is the instance's, which messages often name."""
    chain = list(_chain(failure))
    root = chain[-1]
    message = _same_each_time(root.message, id)
    place = next((found for found in map(_place, reversed(chain)) if found is not None), (None, None))
    types = " < ".join(each.type for each in reversed(chain))
    digest = hashlib.sha256("\n".join((types, message, place[1] or "")).encode()).hexdigest()
    sentence = f"{root.type}: {message}" if message else root.type
    return Likeness(sentence, place[0], digest[:FINGERPRINT_CHARACTERS])


def _chain(failure: Failure | None) -> Iterable[Failure]:
    for _ in range(CAUSES_MAX):
        if failure is None:
            return
        yield failure
        failure = failure.cause


def _same_each_time(message: str, id: str) -> str:
    text = re.sub(rf"(?<!\w){re.escape(id)}(?!\w)", "<id>", message[:LOOKED_AT_CHARACTERS_MAX])
    for pattern, name in _DIFFERENT_EACH_TIME:
        text = re.sub(pattern, name, text)
    return " ".join(text.split())[:MESSAGE_CHARACTERS_MAX]


def _place(failure: Failure) -> tuple[str, str] | None:
    """The innermost frame for people, and as it stays when lines before it come and go; None without a stack."""
    if not failure.stack:
        return None
    frames = re.findall(_PYTHON_FRAME, failure.stack[-LOOKED_AT_CHARACTERS_MAX:])
    if frames:
        path, line, function, code = frames[-1]
        short = "/".join(path.replace("\\", "/").split("/")[-2:])
        return f"{short}:{line} in {function}", f"{short} {function} {code or line}"
    other = re.search(_OTHER_FRAME, failure.stack[:LOOKED_AT_CHARACTERS_MAX])
    return (other[1].strip(), other[1].strip()) if other is not None else None
