"""Collects the cells that the tests of this folder report, in whichever process they ran, and writes the matrix."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.compat.matrix import PAGE, Cell, Matrix, write
from tests.compat.sdk import every
from tests.compat.server import OTHER

CELLS = pytest.StashKey[list[Cell]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[CELLS] = []
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Collector(config.stash[CELLS]), "compat cells")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A column stays in one process, because its server and its worker do."""
    return _ByColumn(config, log) if config.getoption("dist") == "loadscope" else None


def pytest_sessionfinish(session: pytest.Session) -> None:
    """The process that began the run has every report; only a whole run against our server writes the page."""
    cells = session.config.stash[CELLS]
    if hasattr(session.config, "workerinput") or not cells:
        return
    matrix = Matrix(every(), cells)
    write(matrix, page=PAGE if matrix.whole and not OTHER else None)


class _Collector:
    """Reads the cell that a test has attached to its report."""

    def __init__(self, cells: list[Cell]) -> None:
        self._cells = cells

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call":
            self._cells += [Cell(**value) for name, value in report.user_properties if name == "cell"]


class _ByColumn(LoadScopeScheduling):
    """Takes the tests of an SDK for one piece of work."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.rpartition("::")[2].partition(":")[0]
