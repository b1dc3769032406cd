"""How a document of each kind is read into its record."""

from __future__ import annotations

from collections.abc import Callable

from perdure.blocks.resources.entry import Entry, Fields
from perdure.blocks.resources.reading import Reading
from perdure.blocks.resources.records import BulkSubscribe, Configuration, Named, Rule, Subscription
from perdure.blocks.resources.settings import Settings
from perdure.blocks.resources.tool_servers import mcp_server
from perdure.errors import UnknownConfiguration

V1 = "dapr.io/v1alpha1"
V2 = "dapr.io/v2alpha1"
_SPEC_OF_CONFIGURATION = (
    *("tracing", "metric", "metrics", "httpPipeline", "appHttpPipeline", "nameResolution", "secrets", "accessControl"),
    *("mtls", "api", "features", "components", "logging", "wasm", "workflow", "scheduler"),
)
_BULK = ("enabled", "maxMessagesCount", "maxAwaitDurationMs", "maxBulkSubCount", "maxBulkSubAwaitDurationMs")


def read_resource(document: Entry, settings: Settings) -> Named:
    """The record of a document. Raises UnknownConfiguration and InvalidArgument."""
    found = {name.lower(): value for _, name, value in document.pairs("a resource")}
    if "kind" not in found or "apiversion" not in found:
        raise document.wrong(f"a resource has a `kind` and an `apiVersion`, such as Component and {V1}")
    kind, version = found["kind"].some_text("kind"), found["apiversion"].some_text("apiVersion")
    if kind in NEVER:
        raise found["kind"].wrong(f"kind {kind} cannot be served: {NEVER[kind]}; take it out of the file")
    if (kind, version) not in KINDS:
        known = ", ".join(f"{one} {of}" for one, of in KINDS)
        raise found["kind"].wrong(f"there is no kind {kind} {version}; there are {known}", UnknownConfiguration)
    return KINDS[kind, version](document, settings)


def component(document: Entry, settings: Settings) -> Named:
    """A Component, whose metadata is read as its type wants it."""
    read = Reading(document, settings, "auth")
    spec = read.spec("type", "version", "metadata", "ignoreErrors", "initTimeout")
    if spec.duration("initTimeout") is not None:
        settings.warn(spec["initTimeout"], "initTimeout")
    return settings.component(
        read.named,
        spec.get("type", document),
        read.needed(spec, "type"),
        spec.text("version") or "v1",
        spec.items_of("metadata"),
        secret_store=read.fields.part("auth", ("secretStore",)).text("secretStore"),
        ignore_errors=spec.flag("ignoreErrors"),
    )


def subscription_v1(document: Entry, settings: Settings) -> Named:
    """A Subscription of the first version, which has one path."""
    read = Reading(document, settings)
    spec = read.spec("pubsubname", "topic", "metadata", "route", "bulkSubscribe", "deadLetterTopic")
    return _subscription(read, spec, path=read.needed(spec, "route"))


def subscription_v2(document: Entry, settings: Settings) -> Named:
    """A Subscription of the second version, which has rules."""
    read = Reading(document, settings)
    spec = read.spec("pubsubname", "topic", "metadata", "routes", "bulkSubscribe", "deadLetterTopic")
    routes = spec.part("routes", ("rules", "default"))
    rules = [_rule(read, item) for item in routes.items_of("rules")]
    # because Dapr takes a rule without an expression for the default
    path = routes.text("default") or next((rule.path for rule in rules if not rule.match), None)
    matching = tuple(rule for rule in rules if rule.match)
    if path is None and not matching:
        raise document.wrong(f"{read.named['name']!r} has no path; write `routes` with a `default`")
    return _subscription(read, spec, path=path, rules=matching)


def _rule(read: Reading, entry: Entry) -> Rule:
    found = entry.fields("a rule", ("match", "path"))
    return Rule(match=found.text("match") or "", path=read.needed(found, "path"))


def _subscription(read: Reading, spec: Fields, *, path: str | None, rules: tuple[Rule, ...] = ()) -> Subscription:
    return Subscription(
        **read.named,
        pubsub=read.needed(spec, "pubsubname"),
        topic=read.needed(spec, "topic"),
        path=path,
        rules=rules,
        metadata=spec.mapping("metadata"),
        dead_letter_topic=spec.text("deadLetterTopic"),
        bulk=_bulk(spec.part("bulkSubscribe", _BULK)),
    )


def _bulk(found: Fields) -> BulkSubscribe | None:
    """The numbers go by two names, because the programmatic subscriptions of Dapr call them otherwise."""
    if not found.flag("enabled"):
        return None
    return BulkSubscribe(
        messages_max=found.whole("maxMessagesCount") or found.whole("maxBulkSubCount"),
        wait_milliseconds=found.whole("maxAwaitDurationMs") or found.whole("maxBulkSubAwaitDurationMs"),
    )


def configuration(document: Entry, settings: Settings) -> Named:
    """A Configuration, of which nothing has an effect here."""
    read = Reading(document, settings)
    spec = read.spec(*_SPEC_OF_CONFIGURATION)
    for name, entry in spec.items():
        settings.warn(entry, name)
    return Configuration(**read.named, spec={name: entry.plain(name) for name, entry in spec.items()})


KINDS: dict[tuple[str, str], Callable[[Entry, Settings], Named]] = {
    ("Component", V1): component,
    ("Subscription", V1): subscription_v1,
    ("Subscription", V2): subscription_v2,
    ("Configuration", V1): configuration,
    ("MCPServer", V1): mcp_server,
}
NEVER = {
    "HTTPEndpoint": "apps are not called through the server",
    "WorkflowAccessPolicy": "who may call is decided by the API tokens of the server",
    "Resiliency": "retries and timeouts are options of activities and of calls",
}
"""Kinds that Dapr has, with the reason why they cannot be served."""
