"""Messages that a partition lends to nodes which have the code of their group: each is an offered call of its own."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from perdure.codec import JSON, Payload
from perdure.history.entities import hashed
from perdure.history.events import ActivityCompleted, ActivityFailed, MessagePublished
from perdure.history.handling import Handled
from perdure.history.reports import GIVEN_BACK
from perdure.history.subscribing import Verdict
from perdure.stores.contract import OFFERED, Wait, WaitKind

LOANS_MAX = 50
"""Messages of one group that a partition has lent at the same time."""


class Loan(msgspec.Struct, frozen=True, array_like=True):
    """A message on loan: its place in the log, the attempts that failed before, and the seconds that this one has.

    `unheard` as `Pending` has it; `deaths_max`: at which of them it is given up where it is handled behind a server.
    """

    group: str
    position: int
    failed: int
    timeout: float
    message: MessagePublished
    unheard: int = 0
    deaths_max: int | None = None


_loans = msgspec.json.Decoder(Loan)
_handled = msgspec.json.Decoder(Handled)


def call_of(topic: str, group: str) -> str:
    """The name under which a group's messages are offered."""
    group = hashed(f"{topic}\0{group}")
    return f"perdure.deliver.{group}"


def wait_of(loan: Loan, number: int, at: int) -> Wait:
    """The offered call of a loan."""
    name = call_of(loan.message.topic, loan.group)
    input = Payload(JSON, None, Raw(msgspec.json.encode(loan)))
    return Wait(number, WaitKind.ACTIVITY, name, at, attempt=1, state=OFFERED, input=input)


def loan_of(input: Payload | None) -> Loan:
    """Raises ValueError for what is none."""
    return _loans.decode(input.data if input is not None else b"")


def result_of(handled: Handled) -> Payload:
    return Payload(JSON, None, Raw(msgspec.json.encode(handled)))


def handled_of(report: ActivityCompleted | ActivityFailed) -> Handled | None:
    """What a node made of a loan; None if it gives it back. What cannot be read comes again."""
    if isinstance(report, ActivityFailed):
        if report.failure.type == GIVEN_BACK:
            return None
        return Handled(Verdict.RETRY, f"{report.failure.type}: {report.failure.message}"[:1_000])
    try:
        return _handled.decode(report.result.data if report.result is not None else b"")
    except ValueError as error:
        return Handled(Verdict.RETRY, f"what its receiver said cannot be read: {error}"[:1_000])
