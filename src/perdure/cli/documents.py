"""The JSON that programs read: instances, events, failures, explanations, with keys that stay."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from perdure.clock import to_datetime
from perdure.codec import Payload, decode, is_packed, readable
from perdure.errors import NotDecodable, OutcomeError, RemoteError
from perdure.history.events import Failure
from perdure.history.state import CauseGroup, Explanation
from perdure.sdk.debugger import Debugger
from perdure.sdk.snapshot import State
from perdure.stores.contract import Halt

_INSTANTS = frozenset(("at", "due", "scheduled", "started"))
"""Fields of events that are microseconds since 1970 UTC."""


def write(document: dict[str, Any]) -> None:
    """One line of JSON on standard output, in ASCII, so that no terminal obeys what a payload holds."""
    print(json.dumps(document, default=str), flush=True)


def summary(state: State) -> dict[str, Any]:
    """An instance as a list knows it: without input, output and failure."""
    return {
        "id": state.id,
        "app": state.app,
        "name": state.name,
        "status": state.status.value,
        "execution_id": state.execution_id,
        "run": state.run,
        "created": _time(state.created),
        "updated": _time(state.updated),
        "finished": _time(state.finished),
        "custom_status": state.custom_status,
        "tags": state.tags,
        "parent": state.parent,
        "suspended": _halt(state.suspended),
        "stalled": _halt(state.stalled),
        "version": state.version,
    }


def instance(state: State) -> dict[str, Any]:
    """An instance with everything but its history."""
    return {
        **summary(state),
        "input": state.input,
        "output": state.output,
        "failure": failure(state.failure) if state.failure is not None else None,
    }


def failure(error: BaseException) -> dict[str, Any]:
    """An outcome with its chain of causes, outermost first."""
    return {
        "type": error.type if isinstance(error, RemoteError) else type(error).__name__,
        "message": message(error),
        "code": error.code if isinstance(error, OutcomeError) else None,
        "stack": error.stack or None if isinstance(error, RemoteError) else None,
        "cause": failure(error.__cause__) if error.__cause__ is not None else None,
    }


def message(error: BaseException) -> str:
    """What an error says, without its code and stack."""
    return error.message if isinstance(error, RemoteError) else Exception.__str__(error)


def event(recorded: Any, index: int) -> dict[str, Any]:
    """An event of a history: `index` counts from 1; of its other fields those that say something."""
    fields: dict[str, Any] = {
        "index": index,
        "type": type(recorded).__name__,
        "at": _time(to_datetime(recorded.at)),
    }
    for name, value in msgspec.structs.asdict(recorded).items():
        if name == "number" or (value not in (None, 0, "") and name != "at" and not name.endswith("_nanos")):
            fields[name] = _field(name, value)
    return fields


def action(asked: Any) -> dict[str, Any]:
    """What code asked for: its kind, and of its fields those that say what."""
    told = {name: getattr(asked, name, None) for name in _OF_ACTIONS}
    return {"type": type(asked).__name__} | {name: _field(name, value) for name, value in told.items() if value}


_OF_ACTIONS = ("number", "name", "instance", "due", "input", "data", "output", "status", "failure", "result", "line")


def debugged(debugger: Debugger) -> dict[str, Any]:
    """Where the code of a run stands, and what it waits for. Values of variables are text."""
    following, end, stall = debugger.next_event, debugger.end, debugger.stall
    return {
        "id": debugger.id,
        "at": debugger.at,
        "events": len(debugger.events),
        "next": event(following, debugger.at) if following is not None else None,
        "tasks": [msgspec.to_builtins(task) for task in debugger.tasks],
        "waits": [action(wait) for wait in debugger.waits],
        "asked": [action(asked) for asked in debugger.asked],
        "end": action(end) if end is not None else None,
        "stall": None
        if stall is None
        else {"reason": stall.reason, "description": stall.description, "line": stall.line},
    }


def explanation(told: Explanation, command: Callable[[Explanation], str | None]) -> dict[str, Any]:
    """Why an instance is not finished; `command` gives its command for where the instance is."""
    return {
        "id": told.instance,
        "cause": told.cause,
        "sentence": told.sentence,
        "since": _time(told.since),
        "command": command(told),
        "line": told.line,
        "next": told.next,
        "chain": list(told.chain),
        "normal": told.is_normal,
    }


def cause(group: CauseGroup, command: Callable[[Explanation], str | None]) -> dict[str, Any]:
    """Instances that are not finished for one cause."""
    return {
        "cause": group.cause,
        "count": group.count,
        "normal": group.is_normal,
        "oldest": _time(group.oldest),
        "example": explanation(group.example, command),
    }


def _field(name: str, value: Any) -> Any:
    if isinstance(value, Payload):
        return _value(value)
    if name in _INSTANTS and isinstance(value, int):
        return _time(to_datetime(value)) if value < _LAST_INSTANT else value
    if isinstance(value, Failure):
        return {
            "type": value.type,
            "message": value.message,
            "stack": value.stack,
            "cause": _field("cause", value.cause),
        }
    return msgspec.to_builtins(value)


_LAST_INSTANT = 253_402_300_799_000_000
"""The end of the year 9999, which is the last that a datetime can hold."""


def _value(payload: Payload) -> Any:
    if is_packed(payload):
        return str(readable(payload))
    try:
        return decode(payload)
    except (NotDecodable, ValueError):
        # because a payload of another encoding, or damaged, must not hide the rest of the history
        return {"encoding": payload.encoding, "data": bytes(payload.data).decode("utf-8", "replace")}


def _halt(halt: Halt | None) -> dict[str, Any] | None:
    if halt is None:
        return None
    return {
        "reason": halt.reason,
        "since": _time(to_datetime(halt.since)),
        "description": halt.description,
        "line": halt.line,
    }


def _time(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None
