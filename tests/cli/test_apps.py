"""The environment of a program beside a server."""

from pathlib import Path

import msgspec

from perdure.cli.apps import AppEntry, environment
from perdure.remote.security import Token
from perdure.remote.settings import Listener

ENTRY = AppEntry(app_id="shop", folder=Path("/shop"))
LISTENER = Listener(app_id="shop", grpc_port=50_010, http_port=3_510)
BARE = {
    "APP_ID": "shop",
    "APP_CHANNEL_ADDRESS": "127.0.0.1",
    "APP_PROTOCOL": "http",
    "DAPR_GRPC_PORT": "50010",
    "DAPR_HTTP_PORT": "3510",
    "PYTHONUNBUFFERED": "1",
}


def test_a_program_finds_its_app_and_the_ports_of_the_server():
    assert environment(ENTRY, LISTENER, None, {}) == BARE


def test_a_port_that_is_not_there_is_not_set():
    assert "DAPR_HTTP_PORT" not in environment(ENTRY, msgspec.structs.replace(LISTENER, http_port=None), None, {})
    assert environment(msgspec.structs.replace(ENTRY, app_port=8080), LISTENER, None, {})["APP_PORT"] == "8080"


def test_the_token_is_handed_on_because_the_server_will_ask_for_it():
    assert environment(ENTRY, LISTENER, Token("secret"), {}) == {**BARE, "DAPR_API_TOKEN": "secret"}


def test_what_would_lead_to_another_server_is_not_inherited_and_all_else_is():
    inherited = {
        "DAPR_GRPC_ENDPOINT": "elsewhere:50001",
        "DAPR_HTTP_ENDPOINT": "http://elsewhere",
        "DAPR_RUNTIME_HOST": "elsewhere",
        "DAPR_GRPC_HOST": "elsewhere",
        "DAPR_GRPC_PORT": "50001",
        "DAPR_METRICS_PORT": "9090",
        "PYTHONUNBUFFERED": "",
        "PATH": "/bin",
    }
    assert environment(ENTRY, LISTENER, None, inherited) == {**BARE, "PATH": "/bin", "PYTHONUNBUFFERED": ""}


def test_what_the_entry_sets_wins():
    own = {"DAPR_GRPC_ENDPOINT": "elsewhere:50001", "DAPR_GRPC_PORT": "7", "MORE": "1"}
    entry = msgspec.structs.replace(ENTRY, environment=own)
    assert environment(entry, LISTENER, None, {"MORE": "0"}) == {**BARE, **own}
