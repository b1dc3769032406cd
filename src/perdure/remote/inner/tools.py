"""The workflows by which an app lists and calls the tools of a declared server, in the names and forms of Dapr.

`dapr.internal.mcp.SERVER.ListTools` gives what the protocol answers to that, `dapr.internal.mcp.SERVER.CallTool.TOOL`
what the tool answers. A tool that fails, or a server that cannot be reached, is an answer with `isError`; a list that
cannot be had fails the workflow.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Generator, Sequence
from typing import Any, cast

import msgspec

from perdure.blocks.resources import Hook
from perdure.blocks.tool_servers import ToolServer
from perdure.errors import PerdureError, ToolServerUnavailable
from perdure.history.options import CallOptions
from perdure.sdk.activity import Activity
from perdure.sdk.context import activity_context
from perdure.sdk.definitions import Definitions
from perdure.sdk.generator import WorkflowContext
from perdure.sdk.home import Home
from perdure.sdk.workflow import Workflow

PREFIX = "dapr.internal.mcp."
LIST = ".ListTools"
CALL = ".CallTool."

Steps = Generator[Any, Any, Any]


class ToolDefinitions(Definitions):
    """What is run for declared servers. Tools are not asked for beforehand: a workflow has the name of any of them."""

    def __init__(self, servers: Sequence[ToolServer]) -> None:
        super().__init__()
        self._callers: dict[str, Callable[..., Steps]] = {}
        for server in servers:
            name = server.declared.name
            self._add(Workflow(_lister(server), f"{PREFIX}{name}{LIST}", cast("Home", None)))
            self._callers[name] = _caller(server)
            for activity, function in ((_asks(name), _ask(server)), (_runs(name), _run(server))):
                self.activities[activity] = Activity(function, activity, CallOptions())

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What the names of all of them begin with."""
        return tuple(prefix_of(server) for server in self._callers)

    def workflow(self, name: str, version: str | None, *, is_new: bool) -> Workflow[..., Any] | None:
        if name not in self.workflows and (function := self._caller_of(name)) is not None:
            # not kept, because the names come from callers and would be without end
            return Workflow(function, name, cast("Home", None))
        return self.workflows.get(name)

    def _caller_of(self, name: str) -> Callable[..., Steps] | None:
        server, found, tool = name.removeprefix(PREFIX).partition(CALL)
        return self._callers.get(server) if found and tool and name.startswith(PREFIX) else None

    def _add(self, workflow: Workflow[..., Any]) -> None:
        self.workflows[workflow.name] = workflow
        self.versions[workflow.name] = {None: workflow}


def prefix_of(server: str) -> str:
    """What the names of a server's workflows and activities begin with."""
    return f"{PREFIX}{server}."


def _asks(server: str) -> str:
    return f"{PREFIX}{server}.list-tools"


def _runs(server: str) -> str:
    return f"{PREFIX}{server}.call-tool"


# -- workflows ----------------------------------------------------------------------------------------------------


def _lister(server: ToolServer) -> Callable[..., Steps]:
    declared = server.declared

    def list_tools(ctx: WorkflowContext, asked: Any = None) -> Steps:
        for hook in declared.before_list:
            yield _hooked(ctx, hook, {"name": declared.name})
        result = yield ctx.call_activity(_asks(declared.name))
        for hook in declared.after_list:
            changed = yield _hooked(ctx, hook, {"name": declared.name, "result": _packed(result)})
            result = _unpacked(changed) if hook.mutates else result
        return result

    return list_tools


def _caller(server: ToolServer) -> Callable[..., Steps]:
    declared = server.declared

    def call_tool(ctx: WorkflowContext, asked: Any = None) -> Steps:
        tool = ctx.workflow_name.partition(CALL)[2]
        arguments = arguments_in(asked)
        if arguments is None:
            return refusal('the input of a call is {"arguments": {...}}')
        told: dict[str, Any] = {"name": declared.name, "toolName": tool, "arguments": arguments}
        try:
            for hook in declared.before_call:
                changed = yield _hooked(ctx, hook, told)
                told["arguments"] = arguments_in(changed) if hook.mutates else told["arguments"]
                if told["arguments"] is None:
                    return refusal(f"the call was not let through: {hook.workflow} returns no arguments")
        except PerdureError as error:
            return refusal(f"the call was not let through: {error}")
        try:
            result = yield ctx.call_activity(_runs(declared.name), input=[tool, told["arguments"]])
        except PerdureError as error:
            result = refusal(str(error))
        for hook in declared.after_call:
            changed = yield _hooked(ctx, hook, {**told, "result": _packed(result)})
            result = _unpacked(changed) if hook.mutates else result
        return result

    return call_tool


def _hooked(ctx: WorkflowContext, hook: Hook, told: dict[str, Any]) -> Any:
    return ctx.call_child_workflow(hook.workflow, input=told, app_id=hook.app_id)


def arguments_in(asked: Any) -> dict[str, Any] | None:
    """The arguments of a call as its input has them, None if it is none. Pure."""
    if asked is None:
        return {}
    arguments = asked.get("arguments") if isinstance(asked, dict) else asked
    if arguments is None:
        return {}
    return arguments if isinstance(arguments, dict) else None


def refusal(text: str) -> dict[str, Any]:
    """An answer of a tool that says why there is none, for the model to read. Pure."""
    return {"content": [{"type": "text", "text": text}], "isError": True}


def _packed(result: Any) -> str:
    """A result as hooks are given it: a field of bytes, which JSON has in base64."""
    return base64.b64encode(msgspec.json.encode(result)).decode()


def _unpacked(changed: Any) -> Any:
    packed: Any = changed.get("result") if isinstance(changed, dict) else None
    try:
        return json.loads(base64.b64decode(packed, validate=True))
    except (TypeError, ValueError):
        raise ValueError("a hook that mutates returns what it was given, with another `result`") from None


# -- activities ---------------------------------------------------------------------------------------------------


def _ask(server: ToolServer) -> Callable[..., Any]:
    async def list_tools() -> Any:
        return {"tools": await server.list_tools()}

    return list_tools


def _run(server: ToolServer) -> Callable[..., Any]:
    async def call_tool(asked: tuple[str, dict[str, Any]]) -> Any:
        tool, arguments = asked
        try:
            return await server.call_tool(tool, arguments, activity_context().idempotency_key)
        except ToolServerUnavailable as error:
            return refusal(str(error))
        except Exception as error:  # noqa: BLE001 because what the server refuses is an answer, whatever the library makes of it
            return refusal(f"{tool}: {error}")

    return call_tool
