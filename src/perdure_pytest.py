"""Perdure's pytest plugin: its fixture, mark and options; whatever they need is imported when a test asks for them.

A module of its own, because pytest imports every installed plugin, and importing `perdure` would cost all test runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from perdure.testing.durable import OpenApp

MARK = (
    'durable(crash="every-step"): run the test again and again, with a crash of the app at each of its steps, '
    "repeated messages, evictions and other orders; it must pass each time"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("perdure")
    group.addoption(
        "--perdure-record", action="store_true", help="record the golden histories that tests ask for and that are new"
    )
    group.addoption(
        "--perdure-crash", type=int, metavar="N", help="of tests marked durable, run only crash point N, with its story"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARK)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    if item.get_closest_marker("durable") is None:
        return None
    from perdure.testing.durable import run_durably

    run_durably(item, nextitem)
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("durable") is not None:
        from perdure.testing.durable import refuse_misuse

        refuse_misuse(item)


@pytest.fixture
def perdure_app(request: pytest.FixtureRequest) -> Iterator[OpenApp]:
    """Opens an app for the test in virtual time: `env = perdure_app(app)`; see `perdure.testing.Environment`."""
    from perdure.testing.durable import Opening

    opening: Any = Opening(request)
    try:
        yield opening
    finally:
        opening.close()
