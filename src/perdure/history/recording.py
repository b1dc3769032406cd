"""A run as it was recorded at one moment, in a form that can be kept in a file and replayed elsewhere."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from perdure.errors import HistoryCorrupt, InvalidArgument
from perdure.history.events import decode_event, decode_segment
from perdure.stores.contract import Loaded, Mail

RECORDING_FORMAT = 1
"""Number of the form that this version writes."""


class Recording(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One run: whose it is, its history by segments, and the mail that it has not taken, as it is stored.

    `updated` is the time of its last turn, microseconds since 1970 UTC.
    """

    app: str
    id: str
    name: str
    status: str
    execution: str
    generation: int
    updated: int
    version: str | None = None
    segments: list[Raw] = []
    arrivals: list[Raw] = []
    format: int = RECORDING_FORMAT

    def events(self) -> list[Any]:
        """The events of the history, oldest first. Raises HistoryCorrupt."""
        return [event for segment in self.segments for event in self._decoded(decode_segment, segment)]

    def waiting(self) -> list[Any]:
        """The events that the next turn would take. Raises HistoryCorrupt."""
        return [self._decoded(decode_event, mail) for mail in self.arrivals]

    def _decoded(self, decode: Any, data: Raw) -> Any:
        try:
            return decode(bytes(data))
        except ValueError as error:
            raise HistoryCorrupt(f"the history of {self.id!r} cannot be read: {error}") from error


def recording_of(loaded: Loaded) -> Recording:
    """What a store holds of an instance, as a recording of its current run."""
    head = loaded.head
    return Recording(
        app=head.app,
        id=head.id,
        name=head.name,
        status=head.status,
        execution=head.execution,
        generation=head.generation,
        updated=head.updated,
        version=head.version,
        segments=[Raw(segment.events) for segment in loaded.segments],
        arrivals=[Raw(mail.event) for mail in loaded.mail if _is_current(mail, loaded)],
    )


def _is_current(mail: Mail, loaded: Loaded) -> bool:
    """Whether mail is for the instance, or for just this run of it."""
    head = loaded.head
    return mail.execution is None or (mail.execution, mail.generation) == (head.execution, head.generation)


def encode_recording(recording: Recording) -> bytes:
    """A recording as one line of JSON."""
    return _encoder.encode(recording)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Recording)


def decode_recording(line: bytes) -> Recording:
    """The recording that a line holds. Raises InvalidArgument if it holds none."""
    try:
        recording = _decoder.decode(line)
    except ValueError as error:
        raise InvalidArgument(
            f"a line is no recorded run: {error}; write one with `perdure replay --export`"
        ) from error
    if recording.format > RECORDING_FORMAT:
        raise InvalidArgument(f"the recording of {recording.id!r} was written by a later version; update perdure")
    return recording
