"""Resource files: what they are read into, and a sentence with file and line for all that is not understood."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from perdure.blocks.resources import BulkSubscribe, Component, Hook, Resources, Rule, read_resources
from perdure.errors import InvalidArgument, PerdureError, UnknownConfiguration

REDIS = """\
apiVersion: dapr.io/v1alpha1
kind: Component
metadata:
  name: {name}
spec:
  type: state.redis
  version: v1
  metadata:
  - name: redisHost
    value: localhost:6379
"""


def read(tmp_path: Path, text: str, environment: dict[str, str] | None = None, name: str = "all.yaml") -> Resources:
    tmp_path.joinpath(name).write_text(text)
    return read_resources(tmp_path, environment or {})


def refused(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> PerdureError:
    with pytest.raises(PerdureError) as caught:
        read(tmp_path, text, environment)
    return caught.value


def component(type: str, *metadata: str, more: str = "") -> str:
    listed = "".join(f"\n  - {{{one}}}" for one in metadata)
    return (
        "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata:\n  name: it\n"
        f"spec:\n  type: {type}\n  version: v1\n  metadata:{listed or ' []'}\n{more}"
    )


def test_a_component_as_dapr_documents_it(tmp_path: Path) -> None:
    found = read(tmp_path, REDIS.format(name="statestore") + "  - name: enableTLS\n    value: true\nscopes: [shop]\n")
    (one,) = found.components
    assert one == Component(
        name="statestore",
        type="state.redis",
        version="v1",
        metadata={"redisHost": "localhost:6379", "enableTLS": "true"},
        scopes=("shop",),
        place=f"{tmp_path / 'all.yaml'}:1",
    )
    assert one.block == "state"


def test_several_documents_and_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    tmp_path.joinpath("b.yml").write_text(REDIS.format(name="third"))
    tmp_path.joinpath("notes.txt").write_text("no resource")
    tmp_path.joinpath("sub").mkdir()
    tmp_path.joinpath("sub", "c.yaml").write_text("no resource either")
    text = "---\n" + REDIS.format(name="first") + "---\n---\n# nothing\n---\n" + REDIS.format(name="second") + "---\n"
    found = read(tmp_path, text, name="a.yaml")
    assert [one.name for one in found.components] == ["first", "second", "third"]
    assert found.components[1].place.endswith("a.yaml:16")


def test_what_an_app_may_use(tmp_path: Path) -> None:
    ours, theirs = "scopes: [shop]\n", "scopes: [bank, mill]\n"
    text = "---\n".join(
        (REDIS.format(name="same") + ours, REDIS.format(name="same") + theirs, component("state.in-memory"))
    )
    found = read(tmp_path, text)
    assert [one.name for one in found.of("shop").components] == ["same", "it"]
    assert [one.scopes for one in found.of("mill").components] == [("bank", "mill"), ()]
    assert [one.name for one in found.of("other").components] == ["it"]


def test_two_of_one_name_are_refused_where_one_app_has_both(tmp_path: Path) -> None:
    text = REDIS.format(name="same") + "scopes: [a, b]\n---\n" + REDIS.format(name="same") + "scopes: [b]\n"
    error = refused(tmp_path, text)
    assert str(error).startswith(f"{tmp_path / 'all.yaml'}:13: 'same' is at {tmp_path / 'all.yaml'}:1 too")


def test_names_have_no_case_and_braces_are_filled_in(tmp_path: Path) -> None:
    text = component(
        "pubsub.redis", "name: REDISHOST, value: h", 'name: consumerID, value: "{appID}-{namespace}-{uuid}"'
    )
    (one,) = read(tmp_path, text, {"NAMESPACE": "prod"}).of("shop").components
    assert one.metadata["redisHost"] == "h"
    app, namespace, unique = one.metadata["consumerID"].split("-", 2)
    assert (app, namespace) == ("shop", "prod")
    assert len(unique) == 36


def test_secrets_out_of_the_environment_and_of_files_and_nobody_shows_them(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.json"
    secrets.write_text('{"redis": {"password": "hidden-one"}, "plain": "hidden-two"}')
    text = "---\n".join(
        (
            component(
                "state.redis",
                "name: redisHost, value: h",
                "name: redisPassword, secretKeyRef: {name: redis:password}",
                more="auth: {secretstore: files}\n",
            ),
            component(
                "conversation.openai",
                "name: key, secretKeyRef: {name: KEY, key: KEY}",
                more="auth: {secretStore: variables}\n",
            ).replace("name: it", "name: model", 1),
            # behind what refers to them
            component("secretstores.local.file", f"name: secretsFile, value: {secrets}").replace("it", "files", 1),
            component("secretstores.local.env", "name: prefix, value: SHOP_").replace("name: it", "name: variables", 1),
        )
    ).replace("name: files", "name: files")
    found = read(tmp_path, text, {"SHOP_KEY": "hidden-three"})
    assert found.components[0].metadata["redisPassword"] == "hidden-one"
    assert found.components[1].metadata["key"] == "hidden-three"
    assert "hidden" not in repr(found)


@pytest.mark.parametrize(
    "name, told",
    [
        ("nothing", "has no secret 'nothing'"),
        ("DAPR_API_TOKEN", "has no secret 'DAPR_API_TOKEN'"),  # because it is the server's own
    ],
)
def test_a_secret_that_is_not_there(tmp_path: Path, name: str, told: str) -> None:
    item = f"name: key, secretKeyRef: {{name: {name}}}"
    text = component("secretstores.local.env").replace("name: it", "name: env", 1) + "---\n"
    text += component("conversation.openai", item, more="auth: {secretStore: env}\n")
    assert told in str(refused(tmp_path, text, {"DAPR_API_TOKEN": "t"}))


def test_a_variable(tmp_path: Path) -> None:
    text = component("conversation.openai", "name: key, envRef: KEY")
    assert read(tmp_path, text, {"KEY": "k"}).components[0].metadata == {"key": "k"}
    assert str(refused(tmp_path, text)).startswith(f"{tmp_path / 'all.yaml'}:9: variable KEY is not set")
    own = component("conversation.openai", "name: key, envRef: DAPR_API_TOKEN")
    assert "the server's own" in str(refused(tmp_path, own, {"DAPR_API_TOKEN": "t"}))


def test_settings_without_an_effect_are_told(tmp_path: Path) -> None:
    text = component("state.redis", "name: redisHost, value: h", "name: poolSize, value: 20")
    found = read(tmp_path, text)
    assert found.warnings == (f"{tmp_path / 'all.yaml'}:10: poolSize has no effect here",)
    assert "poolSize" not in found.components[0].metadata


SUBSCRIPTION = """\
apiVersion: dapr.io/v2alpha1
kind: Subscription
metadata:
  name: orders
spec:
  pubsubname: bus
  topic: orders
  routes:
    rules:
    - match: event.type == "large"
      path: /large
    default: /orders
  deadLetterTopic: dead
  bulkSubscribe: {enabled: true, maxMessagesCount: 10}
  metadata: {isRawPayload: "true", size: 3}
scopes: [shop]
"""


def test_a_subscription_with_rules(tmp_path: Path) -> None:
    (one,) = read(tmp_path, SUBSCRIPTION).subscriptions
    assert (one.pubsub, one.topic, one.path, one.dead_letter_topic) == ("bus", "orders", "/orders", "dead")
    assert one.rules == (Rule(match='event.type == "large"', path="/large"),)
    assert one.bulk == BulkSubscribe(messages_max=10)
    assert one.metadata == {"isRawPayload": "true", "size": "3"}


def test_a_subscription_of_the_first_version(tmp_path: Path) -> None:
    text = "apiVersion: dapr.io/v1alpha1\nkind: Subscription\nmetadata: {name: o}\n"
    (one,) = read(tmp_path, text + "spec: {pubsubname: bus, topic: t, route: /t}\n").subscriptions
    assert (one.path, one.rules, one.bulk) == ("/t", (), None)
    assert str(refused(tmp_path, text + "spec: {pubsubname: bus, topic: t}\n")).startswith(
        f"{tmp_path / 'all.yaml'}:1: 'o' has no `route`"
    )


MCP = """\
apiVersion: dapr.io/v1alpha1
kind: MCPServer
metadata: {name: tools}
spec:
  catalog: {description: Things to do, tags: [a]}
  endpoint:
    streamableHTTP:
      url: http://127.0.0.1:9/mcp
      timeout: 1m30s
      headers:
      - {name: Authorization, envRef: BEARER}
  middleware:
    beforeCallTool:
    - workflow: {workflowName: check}
      mutate: true
"""


def test_a_server_of_tools(tmp_path: Path) -> None:
    (one,) = read(tmp_path, MCP, {"BEARER": "hidden"}).mcp_servers
    assert (one.transport, one.url, one.timeout) == ("streamable_http", "http://127.0.0.1:9/mcp", 90.0)
    assert one.headers == {"Authorization": "hidden"}
    assert one.before_call == (Hook(workflow="check", mutates=True),)
    assert one.description == "Things to do"
    assert "hidden" not in repr(one)


def test_a_server_of_tools_as_a_process(tmp_path: Path) -> None:
    text = "apiVersion: dapr.io/v1alpha1\nkind: MCPServer\nmetadata: {name: t}\nspec: {endpoint: {stdio: %s}}\n"
    good = "{command: python, args: [-m, tools], env: [{name: A, value: 1}]}"
    (one,) = read(tmp_path, text % good).mcp_servers
    assert (one.command, one.arguments, one.environment) == ("python", ("-m", "tools"), {"A": "1"})
    both = text.replace("{stdio: %s}", "{stdio: {command: a}, sse: {url: b}}")
    assert "has 2 endpoints" in str(refused(tmp_path, both))


def test_a_configuration_is_kept_and_told_to_have_no_effect(tmp_path: Path) -> None:
    text = "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: c}\n"
    found = read(tmp_path, text + "spec: {tracing: {samplingRate: '1', stdout: true}}\n")
    assert found.configurations[0].spec == {"tracing": {"samplingRate": "1", "stdout": True}}
    assert found.warnings == (f"{tmp_path / 'all.yaml'}:4: tracing has no effect here",)


@pytest.mark.parametrize(
    "text, line, told, kind",
    [
        ("a: b: c\n", 1, "is no YAML", InvalidArgument),
        ("a: 1\n", 1, "a resource has a `kind`", InvalidArgument),
        ("- a\n", 1, "a resource is written as `key: value` lines", InvalidArgument),
        ("kind: Deployment\napiVersion: apps/v1\n", 1, "there is no kind Deployment", UnknownConfiguration),
        ("apiVersion: dapr.io/v1alpha1\nkind: Resiliency\n", 2, "cannot be served", InvalidArgument),
        (component("state.redis"), 6, "state.redis needs `redisHost`", InvalidArgument),
        (component("state.rediss"), 6, "there are state.redis", UnknownConfiguration),
        (component("state.redis", "name: host, value: h"), 9, "has no metadata 'host'", UnknownConfiguration),
        (component("state.in-memory", "name: keyPrefix, valeu: h"), 9, "has no key 'valeu'", UnknownConfiguration),
        (component("state.in-memory", "value: h"), 9, "has no `name`", InvalidArgument),
        (component("state.in-memory", *["name: keyPrefix, value: name"] * 2), 10, "is there twice", InvalidArgument),
        (component("state.in-memory", "name: outboxPubsub, value: b"), 9, "cannot be served", InvalidArgument),
        (component("state.in-memory", more="scope: [a]\n"), 9, "has no key 'scope'", UnknownConfiguration),
        (component("state.in-memory").replace("v1\n  meta", "v3\n  meta"), 6, "has no version 'v3'", InvalidArgument),
        (component("state.in-memory").replace("  name: it\n", "  name:\n"), 1, "with a `name`", InvalidArgument),
        (component("state.in-memory", "name: keyPrefix, secretKeyRef: {name: a}"), 9, "has no store", InvalidArgument),
        (
            component("secretstores.local.file", "name: secretsFile, value: /does/not/exist"),
            6,
            "the secrets in /does/not/exist cannot be read",
            InvalidArgument,
        ),
    ],
)
def test_what_is_not_understood_is_refused_in_one_sentence(
    tmp_path: Path, text: str, line: int, told: str, kind: type[PerdureError]
) -> None:
    error = refused(tmp_path, text)
    assert type(error) is kind
    assert str(error).startswith(f"{tmp_path / 'all.yaml'}:{line}: ")
    assert told in str(error)
    assert "\n" not in str(error)


def test_a_few_lines_that_stand_for_billions_of_values(tmp_path: Path) -> None:
    bomb = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n    " + "\n    ".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)
    )
    text = f"apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {{name: c}}\nspec:\n  tracing:\n    {bomb}\n"
    assert "more than 10,000 values" in str(refused(tmp_path, text))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="cannot be read"):
        read_resources(tmp_path / "nowhere", {})


def test_files_that_are_damaged_are_refused_and_nothing_else_happens(tmp_path: Path) -> None:
    chance = random.Random(7)
    whole = [SUBSCRIPTION, MCP, component("state.redis", "name: redisHost, value: !!int h", "name: redisDB, value: 1")]
    alphabet = "{}[]:-&*!|>'\"#%@`,? \n\tabc01\0\x85"
    refusals: list[str] = []
    for _ in range(100):
        text = list("---\n".join(whole))
        for _ in range(chance.randrange(1, 3)):
            at = chance.randrange(len(text))
            text[at : at + chance.randrange(3)] = chance.choices(alphabet, k=chance.randrange(3))
        tmp_path.joinpath("all.yaml").write_text("".join(text))
        try:
            read_resources(tmp_path, {"BEARER": "b"})
        except PerdureError as error:
            refusals.append(str(error))
    assert all(told.startswith(str(tmp_path / "all.yaml")) for told in refusals)
    assert 10 < len(refusals) < 90
