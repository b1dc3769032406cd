"""Bytes of the public protocols to Perdure's own records, and back: the only place that knows their words."""

from perdure.remote.wire.codec import DAPR, MICROSOFT, Codec, codec_of
from perdure.remote.wire.execution import wire_execution
from perdure.remote.wire.opening import read_open_stream

__all__ = ["DAPR", "MICROSOFT", "Codec", "codec_of", "read_open_stream", "wire_execution"]
