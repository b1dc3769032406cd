"""What a run file says, and the lines that its errors name."""

from pathlib import Path

import pytest

from perdure.cli import run_file
from perdure.cli.apps import AppEntry
from perdure.cli.run_file import parse
from perdure.errors import InvalidArgument, UnknownConfiguration

PLACE = Path("/project/dapr.yaml")
WHOLE = """\
version: 1
common:
  resourcesPath: ./components
  env:
    DEBUG: true
    LEVEL: 3
    EMPTY:
  appLogDestination: console
apps:
  - appID: shop
    appDirPath: ./shop/
    appPort: 8080
    daprHTTPPort: 3510
    daprGRPCPort: 50010
    env:
      LEVEL: "4"
    command: ["python3", "app.py", 7]
  - appDirPath: ../billing
    appProtocol: grpc
    appChannelAddress: localhost
    daprHTTPPort: -1
    resourcesPaths: [a, b]
    metricsPort: 9090
"""


def test_a_whole_file():
    shop, billing = parse(WHOLE, PLACE).apps
    assert shop == AppEntry(
        app_id="shop",
        folder=Path("/project/shop"),
        command=("python3", "app.py", "7"),
        environment={"DEBUG": "true", "LEVEL": "4", "EMPTY": ""},
        app_port=8080,
        grpc_port=50010,
        http_port=3510,
        resource_folders=(Path("/project/components"),),
        line=10,
    )
    assert billing == AppEntry(
        app_id="billing",
        folder=Path("/billing"),
        environment={"DEBUG": "true", "LEVEL": "3", "EMPTY": ""},
        app_protocol="grpc",
        app_address="localhost",
        resource_folders=(Path("/project/a"), Path("/project/b")),
        line=18,
    )


def test_keys_without_effect_are_told_once_with_their_first_line():
    assert parse(WHOLE, PLACE).warnings == (
        "/project/dapr.yaml:8: appLogDestination has no effect here",
        "/project/dapr.yaml:23: metricsPort has no effect here",
    )


def test_an_alias_stands_for_what_it_names():
    text = "version: 1\ncommon:\n  env: &e {A: b}\napps:\n  - {appDirPath: x, env: *e}\n"
    assert parse(text, PLACE).apps[0].environment == {"A": "b"}


ONE = "version: 1\napps:\n  - appDirPath: x\n"


@pytest.mark.parametrize(
    "text, line, told",
    [
        (ONE + "    appId: shop\n", 4, "an app has no key 'appId'; there are appChannelAddress, appDirPath, appID"),
        ("version: 1\napp: []\n", 2, "a run file has no key 'app'"),
        ("version: 1\nmetricsPort: 1\n", 2, "a run file has no key 'metricsPort'"),
        ("version: 1\ncommon:\n  appID: x\n", 3, "common has no key 'appID'"),
        (ONE + "    <<: {a: b}\n", 4, "an app has no key '<<'"),
    ],
)
def test_unknown_keys_are_refused_with_their_line(text, line, told):
    with pytest.raises(UnknownConfiguration) as refused:
        parse(text, PLACE)
    assert str(refused.value).startswith(f"/project/dapr.yaml:{line}: {told}")


@pytest.mark.parametrize(
    "text, line, told",
    [
        ("apps:\n  - appDirPath: x\n", 1, "has no `version`"),
        ("version: 2\napps: []\n", 1, "version is 2; only 1 is known"),
        ("version: 1\n", 1, "names no app"),
        ("version: 1\napps:\n", 1, "names no app"),
        ("version: 1\napps: 7\n", 2, "apps is a list"),
        ("version: 1\napps:\n  - 7\n", 3, "an app is written as `key: value` lines"),
        ("- 1\n", 1, "a run file is written as `key: value` lines"),
        ("version: 1\napps:\n  - appID: x\n", 3, "the app has no `appDirPath`"),
        ("version: 1\napps:\n  - appDirPath: /\n", 3, "the app has no `appID`, and its folder has no name"),
        ("version: 1\napps:\n  - appDirPath:\n", 3, "appDirPath is empty"),
        (ONE + "    appDirPath: y\n", 4, "'appDirPath' is there twice"),
        (ONE + "    command: python app.py\n", 4, "command is a list such as"),
        (ONE + "    command: []\n", 4, "command is a list such as"),
        (ONE + "    command: [[a]]\n", 4, "a part of command is one value"),
        (ONE + "    appPort: 70000\n", 4, "appPort is '70000'; give a port"),
        (ONE + "    appPort: 8e3\n", 4, "appPort is '8e3'; give a port"),
        (ONE + "    daprGRPCPort: -2\n", 4, "daprGRPCPort is '-2'; give a port"),
        (ONE + "    daprGRPCPort: ٣\n", 4, "daprGRPCPort is '٣'; give a port"),
        (ONE + "    env: [A]\n", 4, "env is written as `NAME: value` lines"),
        (ONE + "    env:\n      A: [1]\n", 5, "variable 'A' is one value"),
        (ONE + "    env:\n      A: 1\n      A: 2\n", 6, "variable 'A' is there twice"),
        (ONE + '    env:\n      "A=B": 1\n', 5, "variable 'A=B' holds a ="),
        (ONE + '    env:\n      A: "\\0"\n', 5, "variable 'A' holds a zero byte"),
        (ONE + "    unixDomainSocket: /tmp\n", 4, "unixDomainSocket cannot be served"),
        (ONE + "  - appDirPath: y/x\n", 4, "app id 'x' is given in line 3 too"),
        (ONE + "    appPort: 7\n  - appDirPath: y\n    daprHTTPPort: 7\n", 5, "port 7 is given in line 3 too"),
        ("version: 1\napps: [\n", 3, "is no YAML"),
        ("version: 1\n\tapps: 1\n", 2, "is no YAML"),
        ("version: &a\n  b: *c\n", 2, "is no YAML"),
    ],
)
def test_values_that_cannot_be_meant_are_refused_with_their_line(text, line, told):
    with pytest.raises(InvalidArgument) as refused:
        parse(text, PLACE)
    assert str(refused.value).startswith(f"/project/dapr.yaml:{line}: {told}")


@pytest.mark.parametrize(
    "text, told",
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("version: 1\x00", "cannot be read as YAML"),
        ("[" * 5_000, "cannot be read as YAML: RecursionError"),
        ("x" * (run_file.RUN_FILE_CHARACTERS_MAX + 1), "more than 1,000,000 characters"),
    ],
)
def test_text_that_is_no_run_file(text, told):
    with pytest.raises(InvalidArgument, match=told):
        parse(text, PLACE)


def test_nothing_in_a_file_makes_an_object_of_python():
    text = ONE + "    env:\n      A: !!python/object/apply:os.getcwd []\n"
    with pytest.raises(InvalidArgument, match="one value"):
        parse(text, PLACE)


def test_apps_are_bounded():
    many = "".join(f"  - appDirPath: a{number}\n" for number in range(run_file.APPS_MAX))
    assert len(parse("version: 1\napps:\n" + many, PLACE).apps) == run_file.APPS_MAX
    with pytest.raises(InvalidArgument, match=":103: is one app more than the bound, 100"):
        parse("version: 1\napps:\n" + many + "  - appDirPath: last\n", PLACE)
