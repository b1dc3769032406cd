"""Who makes a call: the app it acts for, and which protocol it speaks as far as its metadata tells."""

from __future__ import annotations

import msgspec

from perdure.history.options import Trace
from perdure.remote.requests import Capability, Flavour, OpenStream
from perdure.remote.security import Grant

NATIVE_AGENT = "perdure-"
"""How the user agent of Perdure's own workers begins."""
NODE_AGENT = "grpc-node-js"
"""What the user agents of JavaScript have in them."""


class Caller(msgspec.Struct, frozen=True):
    """`grant` is what it may do, `agent` the user agent, `task_hub` the tenant that Microsoft's managed SDKs name, ""
    for none. `trace` is the span that the call is part of, where its metadata tell.
    `is_inner`: it is the server itself."""

    grant: Grant
    agent: str = ""
    task_hub: str = ""
    trace: Trace | None = None
    is_inner: bool = False

    @property
    def app(self) -> str:
        """The app that it acts for unless a request names another."""
        return self.grant.app


def flavour_of(caller: Caller, opened: OpenStream) -> Flavour:
    """Which protocol a worker speaks: by its metadata, else by the fields it has sent.

    Only a worker of Python that names nothing but its bounds is ambiguous: Microsoft's, or a Dapr one before 1.18,
    which does with what both know.
    """
    agent = caller.agent
    if agent.startswith(NATIVE_AGENT):
        return Flavour.PERDURE
    if is_microsoft(caller):
        return Flavour.MICROSOFT
    if agent.startswith("dapr-"):
        return Flavour.DAPR
    if opened.hint is not None:
        return opened.hint
    return Flavour.MICROSOFT if opened.turns_max or opened.activities_max else Flavour.DAPR


def is_microsoft(caller: Caller) -> bool:
    """Whether the metadata of a call tell that Microsoft's protocol is spoken; where they do not, it may be as well."""
    return bool(caller.task_hub) or caller.agent.startswith(("durabletask-js", "durabletask-python"))


def has_narrow_channel(caller: Caller, opened: OpenStream) -> bool:
    """Whether the worker may have its library's default bound on messages: any but Perdure's own, those of JavaScript,
    and Dapr's of Python from 1.19 on, which say what they can do."""
    if caller.agent.startswith((NATIVE_AGENT, "durabletask-js")) or NODE_AGENT in caller.agent:
        return False
    return not (caller.agent.startswith("grpc-python") and Capability.STATEFUL_HISTORY in opened.capabilities)


def keeps_one_queue(caller: Caller) -> bool:
    """Whether the worker keeps items of all kinds in one queue and drops what that has no room for: Dapr's of
    JavaScript."""
    return NODE_AGENT in caller.agent and not is_microsoft(caller)
