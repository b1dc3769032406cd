"""Where a command finds the components of an app, and what it says of options that set nothing here."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.blocks.resources import USUAL
from perdure.cli.apps import AppEntry
from perdure.cli.idle import Idle
from perdure.cli.run import read_run_file, with_resources
from perdure.errors import InvalidArgument, UnknownConfiguration

COMPONENT = """\
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {{name: {name}}}
spec: {{type: {type}, version: v1}}
"""
RUN = "version: 1\napps:\n  - {{appDirPath: one}}\n  - {{appDirPath: two{more}}}\n"


def names(entries: tuple[AppEntry, ...]) -> list[list[str]]:
    return [[each.name for each in listener.resources.components] for listener in with_resources(entries)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place, name in (("a", "from-a"), ("one/.dapr/resources", "of-its-own"), ("b", "from-b")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "c.yaml").write_text(COMPONENT.format(name=name, type="state.in-memory"))
    return tmp_path


def test_an_app_without_folders_has_the_usual_components() -> None:
    (listener,) = with_resources((AppEntry(app_id="shop", folder=Path()),))
    assert listener.resources is USUAL
    assert {"statestore", "pubsub", "agent-workflow"} <= {each.name for each in USUAL.components}


def test_folders_are_those_of_the_app_else_of_the_command_else_its_own(folder: Path) -> None:
    file = folder / "dapr.yaml"
    file.write_text(RUN.format(more=""))
    apps, _ = read_run_file(file)
    assert names(apps) == [["of-its-own"], [each.name for each in USUAL.components]]
    apps, _ = read_run_file(file, (folder / "a",))
    assert names(apps) == [["from-a"], ["from-a"]]
    file.write_text(RUN.format(more=", resourcesPaths: [a, b]"))
    apps, _ = read_run_file(file)
    assert names(apps) == [["of-its-own"], ["from-a", "from-b"]]


def test_a_component_that_nobody_knows_is_refused_with_its_line(folder: Path) -> None:
    (folder / "a" / "d.yaml").write_text(COMPONENT.format(name="x", type="state.unheard"))
    entry = AppEntry(app_id="shop", folder=Path(), resource_folders=(folder / "a",))
    with pytest.raises(UnknownConfiguration, match=r"d\.yaml:4"):
        list(with_resources((entry,)))


def test_options_without_effect_are_told() -> None:
    assert list(Idle().warnings()) == []
    given = Idle(log_level="debug", enable_api_logging=True, placement_host_address="localhost:50005")
    assert list(given.warnings()) == [
        "--placement-host-address has no effect here",
        "--log-level has no effect here",
        "--enable-api-logging has no effect here",
    ]
    with pytest.raises(InvalidArgument, match="the program would find no socket"):
        list(Idle(unix_domain_socket="/tmp").warnings())
