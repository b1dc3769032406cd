"""What a transaction step and an outbox work with: the store's own transaction, or the caller's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from perdure.clock import Clock, ordered_id
from perdure.codec import PLAIN, Codec, Payload, Writer
from perdure.errors import InstanceExists, InvalidArgument
from perdure.history.creation import asked_creation, asked_start
from perdure.history.events import EventRaised, RunStarted, decode_event, decode_segment, encode_event
from perdure.history.work import StartOptions
from perdure.sdk.messages import ExternalEvent, name_of
from perdure.sdk.options import checked_id
from perdure.sdk.workflow import Workflow
from perdure.stores.contract import Creation, Mail, Segment

Parameters = Sequence[Any] | Mapping[str, Any]


class Transaction(Protocol):
    """The transaction that commits with the step's result. It cannot be ended, and the engine's tables not written."""

    def execute(self, sql: str, parameters: Parameters = (), /) -> list[tuple[Any, ...]]:
        """Run one statement; the rows that it gives. Raises what the database's driver raises."""

    def execute_many(self, sql: str, rows: Iterable[Parameters], /) -> int:
        """Run one statement for each row of parameters; how many rows were changed in all."""


class Carrier(Protocol):
    """A transaction of the caller's that instances and mail can be written in."""

    def create(self, creation: Creation) -> bool:
        """False if the id is taken."""

    def deliver(self, app: str, mail: Mail) -> None: ...

    def beginning(self, app: str, id: str) -> tuple[list[Segment], list[Mail]]:
        """The first segment of an instance's history, or the mail of one that has none yet."""


class Outbox:
    """Starts workflows and raises events in a transaction of the caller's: they happen if it commits, and only then."""

    def __init__(self, app: str, carrier: Carrier, clock: Clock, codec: Codec | None) -> None:
        self._app = app
        self._codec = codec
        self._carrier = carrier
        self._clock = clock

    def start(self, workflow: Workflow[..., Any], *args: Any, **kwargs: Any) -> str:
        """Begin an instance with the transaction; its id. Options come by `workflow.with_options(...)`.

        Raises InstanceExists if the id is active and the option `if_exists` is "raise".
        """
        if not isinstance(workflow, Workflow):
            raise InvalidArgument(f"start takes a workflow, not {type(workflow).__name__}")
        workflow.signature.check(args, kwargs)
        payload = self._writer().encode_arguments(args, kwargs)
        workflow.signature.verify(payload)
        options = self._checked(workflow.options)
        id = options.id or ordered_id(self._clock)
        packed = self._packed(payload, self._key(options.tags, None))
        started = asked_start(workflow.name, packed, options, self._clock.token(), self._clock.now())
        is_new = self._carrier.create(asked_creation(self._app, id, started, options))
        if not is_new and options.if_exists != "return":
            raise InstanceExists(
                f"instance {id!r} exists and is not finished; use another id, or if_exists='return'", id
            )
        return id

    def _checked(self, options: StartOptions) -> StartOptions:
        if options.app_id not in (None, self._app):
            raise InvalidArgument(
                f"this outbox starts workflows of app {self._app!r}, not {options.app_id!r}; use that app's outbox"
            )
        if options.dedup_key is not None:
            raise InvalidArgument(
                "an outbox cannot hold a dedup_key; give the start an id of its own and if_exists='return'"
            )
        return options

    def raise_event(self, id: str, name: str | ExternalEvent[Any], data: Any = None) -> None:
        """Send an external event with the transaction. An instance that is not there or finished does not get it."""
        now, payload = self._clock.now(), self._writer().encode(data)
        event = EventRaised(
            at=now, name=name_of(name, "an event's name"), data=self._packed(payload, self._key_of(checked_id(id)))
        )
        self._carrier.deliver(self._app, Mail(id, self._clock.token(), encode_event(event), now))

    def _writer(self) -> Writer:
        return self._codec.writer if self._codec is not None else PLAIN

    def _packed(self, payload: Payload, key: str | None) -> Payload:
        """As a client's would be, but never offloaded, because a transaction waits for nothing else."""
        return payload if self._codec is None else self._codec.pack(payload, key, offloads=False)[0]

    def _key(self, tags: dict[str, str] | None, beside: str | None) -> str | None:
        return self._codec.key_for(tags, beside) if self._codec is not None else None

    def _key_of(self, id: str) -> str | None:
        """The key for what goes to an instance that is there: that of its person, so that it is forgotten with them."""
        keys = self._codec.keys if self._codec is not None else None
        if keys is None or not keys.is_personal:
            return self._key(None, None)
        segments, mail = self._carrier.beginning(self._app, id)
        begun = [event for segment in segments for event in decode_segment(segment.events)]
        begun += [decode_event(one.event) for one in mail]
        started = next((event for event in begun if isinstance(event, RunStarted)), None)
        if started is None:
            return self._key(None, None)  # because it is not there, and gets nothing
        return self._key(started.tags, started.input.key if started.input is not None else None)

    def __repr__(self) -> str:
        return f"<Outbox of app {self._app}>"
