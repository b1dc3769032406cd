"""How an MCPServer is read: the one way to reach it, who may call it, and the workflows around its calls."""

from __future__ import annotations

from typing import Any

from perdure.blocks.resources.entry import Entry, Fields
from perdure.blocks.resources.reading import Reading
from perdure.blocks.resources.records import Hook, McpServer, Named, OAuth
from perdure.blocks.resources.settings import Settings

_ENDPOINTS = ("streamableHTTP", "sse", "stdio")
_HOOKS = ("beforeCallTool", "afterCallTool", "beforeListTools", "afterListTools")


def mcp_server(document: Entry, settings: Settings) -> Named:
    """An MCPServer, with exactly one endpoint."""
    read = Reading(document, settings)
    spec = read.spec("catalog", "endpoint", "middleware")
    endpoint = spec.part("endpoint", _ENDPOINTS)
    if len(endpoint) != 1:
        told = f"has {len(endpoint)} endpoints; write one of {', '.join(_ENDPOINTS)}"
        raise document.wrong(f"{read.named['name']!r} {told}")
    ((transport, entry),) = endpoint.items()
    reached = _stdio(read, entry) if transport == "stdio" else _http(read, entry, transport)
    hooks = spec.part("middleware", _HOOKS)
    return McpServer(
        **read.named,
        **reached,
        before_call=_hooks(read, hooks, "beforeCallTool"),
        after_call=_hooks(read, hooks, "afterCallTool"),
        before_list=_hooks(read, hooks, "beforeListTools"),
        after_list=_hooks(read, hooks, "afterListTools"),
        description=spec.part("catalog", ("displayName", "description", "owner", "tags", "links")).text("description"),
    )


def _stdio(read: Reading, entry: Entry) -> dict[str, Any]:
    found = entry.fields("stdio", ("command", "args", "env"))
    return {
        "transport": "stdio",
        "command": read.needed(found, "command"),
        "arguments": found.texts("args"),
        "environment": read.settings.pairs(found.items_of("env"), None),
    }


def _http(read: Reading, entry: Entry, transport: str) -> dict[str, Any]:
    found = entry.fields(transport, ("url", "protocolVersion", "timeout", "headers", "auth"))
    auth = found.part("auth", ("secretStore", "oauth2", "spiffe"))
    if "spiffe" in auth:
        raise auth["spiffe"].wrong("spiffe cannot be served: nobody here gives workloads an identity; use oauth2")
    return {
        "transport": "sse" if transport == "sse" else "streamable_http",
        "url": read.needed(found, "url"),
        "protocol_version": found.text("protocolVersion"),
        "timeout": found.duration("timeout"),
        "headers": read.settings.pairs(found.items_of("headers"), auth.text("secretStore")),
        "oauth": _oauth(read, auth),
    }


def _oauth(read: Reading, auth: Fields) -> OAuth | None:
    if "oauth2" not in auth:
        return None
    found = auth.part("oauth2", ("issuer", "audience", "scopes", "clientID", "secretKeyRef"))
    secret = found.get("secretKeyRef")
    return OAuth(
        issuer=read.needed(found, "issuer"),
        audience=found.text("audience"),
        scopes=found.texts("scopes"),
        client_id=found.text("clientID"),
        client_secret=None if secret is None else read.settings.secret(secret, auth.text("secretStore")),
    )


def _hooks(read: Reading, found: Fields, name: str) -> tuple[Hook, ...]:
    return tuple(_hook(read, item) for item in found.items_of(name))


def _hook(read: Reading, entry: Entry) -> Hook:
    found = entry.fields("a hook", ("workflow", "mutate"))
    workflow = found.part("workflow", ("workflowName", "appID"))
    return Hook(
        workflow=read.needed(workflow, "workflowName"), app_id=workflow.text("appID"), mutates=found.flag("mutate")
    )
