"""Recordings with their payloads unpacked, so that code can be held against them."""

from __future__ import annotations

from typing import Any

import msgspec

from perdure.codec import Codec
from perdure.errors import HistoryCorrupt
from perdure.history.recording import Recording
from perdure.sdk.packing.packer import Packer


class Unpacked(Recording, frozen=True):
    """A recording whose events are at hand as records, because these still know what was encrypted as confidential."""

    plain_events: tuple[Any, ...] = ()
    plain_waiting: tuple[Any, ...] = ()

    def events(self) -> list[Any]:
        return list(self.plain_events)

    def waiting(self) -> list[Any]:
        return list(self.plain_waiting)


async def plain(recording: Recording, codec: Codec | None) -> Recording:
    """The recording as its code sees it. What cannot be unpacked or read stays as it is: the replay says so."""
    if codec is None:
        return recording
    packer = Packer(codec)
    try:
        events, waiting = recording.events(), recording.waiting()
    except HistoryCorrupt:
        return recording
    return Unpacked(
        **msgspec.structs.asdict(recording),
        plain_events=tuple([await packer.show(event) for event in events]),
        plain_waiting=tuple([await packer.show(event) for event in waiting]),
    )
