"""What makes a coroutine function a tool: its schemas, its hints, and errors as answers that a model can read."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult, TextContent, ToolAnnotations
from pydantic import BaseModel, create_model

from perdure.errors import InstanceNotFound, PerdureError

Looks = Callable[..., Awaitable[BaseModel]]
LOOK = ToolAnnotations(read_only_hint=True, open_world_hint=False)


def steer(*, ends: bool = False, repeatable: bool = False) -> ToolAnnotations:
    """The hints of a tool that changes an instance. `ends`: what it does cannot be taken back; `repeatable`: doing it
    twice is as doing it once."""
    return ToolAnnotations(
        read_only_hint=False, destructive_hint=ends, idempotent_hint=repeatable, open_world_hint=False
    )


def tool(function: Looks, hints: ToolAnnotations) -> Tool:
    """The function as a tool of its name: its docstring is the description, its annotations are the schemas.

    An argument that it does not have is refused, because a misspelt one would else be the default, such as all
    children of what is terminated.
    """
    signature = inspect.signature(function, eval_str=True)
    model = signature.return_annotation

    @functools.wraps(function)
    async def answered(**arguments: Any) -> CallToolResult:
        try:
            return _answer(await function(**arguments))
        except PerdureError as error:
            return _refusal(error)
        except TimeoutError as error:
            return _failed(str(error) or "no answer came in time; explain_instance tells what it waits for")

    returns: Any = Annotated[CallToolResult, model]
    answered.__signature__ = signature.replace(return_annotation=returns)  # type: ignore[attr-defined]
    answered.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()} | {
        "return": returns
    }
    made = Tool.from_function(answered, description=inspect.getdoc(function), annotations=hints)
    loose = made.fn_metadata.arg_model
    strict = create_model(loose.__name__, __base__=loose, __cls_kwargs__={"extra": "forbid"})
    made.fn_metadata.arg_model, made.parameters = strict, strict.model_json_schema(by_alias=True)
    return made


def resource(function: Looks) -> Callable[[str], Awaitable[str]]:
    """What reads a resource of one instance: the answer as JSON, and errors as the protocol has them."""

    @functools.wraps(function)
    async def read(id: str) -> str:
        try:
            return _text(await function(id))
        except InstanceNotFound as error:
            raise ResourceNotFoundError(str(error)) from error
        except PerdureError as error:
            raise ResourceError(str(error)) from error

    read.__annotations__ = {"id": str, "return": str}
    return read


def _answer(found: BaseModel) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(type="text", text=_text(found))],
        structured_content=found.model_dump(mode="json", exclude_none=True),
    )


def _text(found: BaseModel) -> str:
    # without what is empty, because a model pays for every word
    return found.model_dump_json(exclude_none=True)


def _refusal(error: PerdureError) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(type="text", text=str(error))],
        structured_content={"code": error.code, "message": Exception.__str__(error)},
        is_error=True,
    )


def _failed(sentence: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=sentence)], is_error=True)
