"""The calls of Dapr's conversations: each asks the model of a component."""

from __future__ import annotations

from perdure.remote.hosted import Hosted
from perdure.remote.rpc.caller import Caller
from perdure.remote.rpc.calls import Calls, Unary
from perdure.remote.wire.conversation import ALPHA1, ALPHA2, Version


def conversation_calls(hosted: Hosted) -> Calls:
    """ConverseAlpha1 and ConverseAlpha2."""

    def call(version: Version) -> Unary:
        async def handler(data: bytes, caller: Caller) -> bytes:
            asked = version.read(data)
            return version.write(asked, await hosted.conversation.converse(caller.app, asked))

        return handler

    return Calls({"ConverseAlpha1": call(ALPHA1), "ConverseAlpha2": call(ALPHA2)})
