"""Recordings with their payloads unpacked, so that code can be held against them."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from perdure.codec import Codec
from perdure.errors import HistoryCorrupt
from perdure.history.events import encode_event, encode_segment
from perdure.history.recording import Recording
from perdure.sdk.packing.packer import Packer


async def plain(recording: Recording, codec: Codec | None) -> Recording:
    """The recording as its code sees it. What cannot be unpacked or read stays as it is: the replay says so."""
    if codec is None:
        return recording
    packer = Packer(codec)
    try:
        events, waiting = recording.events(), recording.waiting()
    except HistoryCorrupt:
        return recording
    return msgspec.structs.replace(
        recording,
        segments=[Raw(encode_segment([await packer.show(event) for event in events]))] if events else [],
        arrivals=[Raw(encode_event(await packer.show(event))) for event in waiting],
    )
