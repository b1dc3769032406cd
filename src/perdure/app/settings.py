"""Settings of an app: which there are, what they are if nothing is said, and which values they may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from perdure.engine.settings import DRAIN_SECONDS, HISTORY_EVENTS_MAX, QUARANTINE_DEATHS, QUARANTINE_DEATHS_MIN
from perdure.errors import InvalidArgument, UnknownConfiguration
from perdure.sdk.options import checked_count, checked_name

if TYPE_CHECKING:
    from perdure.sdk.webhooks import Webhook

SETTINGS: dict[str, Any] = {
    "standby": True,
    "slots": 1_000,
    "slots_by_name": {},
    "workflow_slots": None,
    "workflow_slots_by_name": {},
    "threads": 32,
    "activations_max": 2_000,
    "history_events_max": HISTORY_EVENTS_MAX,
    "quarantine_deaths": QUARANTINE_DEATHS,
    "drain_seconds": DRAIN_SECONDS,
    "metrics": True,
    "audit": True,
    "lifecycle": False,
}
"""Settings of an App by name, with what they are if nothing is said: whether to stand by while another process owns the
store; attempts at once on this node, in all and, by name, of single activities; workflows that this node has begun and
that are not finished, in all (None: any number) and by name; threads for `def` activities; instances kept in memory;
events of a history before it stalls; how many owners in a row may die while they run an instance before it stalls
(None: any number); seconds that closing waits for attempts; whether it counts what `App.metrics` shows; whether
management actions are entered in the audit log; whether what happens to instances is written for `client.lifecycle`,
which a webhook brings along."""

SETTINGS_MIN = {
    "slots": 1,
    "workflow_slots": 1,
    "threads": 1,
    "history_events_max": 1,
    "quarantine_deaths": QUARANTINE_DEATHS_MIN,
}
"""The least value of settings for which 0 would mean to stand still."""
SETTINGS_OFF = frozenset(("quarantine_deaths", "workflow_slots"))
"""Settings that None switches off."""
SLOTS_BY_NAME = frozenset(("slots_by_name", "workflow_slots_by_name"))
"""Settings that give numbers of slots to names."""


def checked_settings(given: dict[str, Any]) -> dict[str, Any]:
    """All settings, those that are given among them. Raises UnknownConfiguration, InvalidArgument."""
    unknown = sorted(set(given) - set(SETTINGS))
    if unknown:
        raise UnknownConfiguration(f"App has no setting {unknown[0]!r}; there are {', '.join(SETTINGS)}")
    for name, value in given.items():
        if name in SLOTS_BY_NAME:
            _check_slots(name, value)
        elif not (value is None and name in SETTINGS_OFF):
            _check_value(name, value)
    return {**SETTINGS, **given}


def checked_webhook(webhook: Webhook | None, server: str | None) -> Webhook | None:
    """Raises InvalidArgument for what is no webhook, and where the engine is at a server."""
    if webhook is None:
        return None
    from perdure.sdk.webhooks import Webhook  # because most apps have none

    if not isinstance(webhook, Webhook):
        raise InvalidArgument(f"webhook is a {type(webhook).__name__}; give a Webhook(...)")
    if server is not None:
        raise InvalidArgument("an app at a server has no webhook of its own; give it to the server, with --webhook")
    return webhook


def _check_value(name: str, value: Any) -> None:
    like = 100 if name == "workflow_slots" else SETTINGS[name]
    is_of_type = isinstance(like, bool) == isinstance(value, bool) and isinstance(value, type(like) | int)
    if not is_of_type or not SETTINGS_MIN.get(name, 0) <= value < float("inf"):
        raise InvalidArgument(f"setting {name} is {value!r}; it is like {like!r}")


def _check_slots(setting: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise InvalidArgument(f"setting {setting} is {value!r}; write {setting}={{'charge': 5}}")
    for name, count in value.items():
        checked_name(name, f"a name in {setting}")
        checked_count(f"{setting}[{name!r}]", count, 1)
