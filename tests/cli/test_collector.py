"""The collector of a process that serves."""

from __future__ import annotations

import gc

import pytest

from perdure.cli.collector import THRESHOLDS, rare_collections


@pytest.mark.long
def test_it_comes_seldom_while_there_is_a_server_and_as_before_afterwards() -> None:
    before = gc.get_threshold()
    with rare_collections():
        assert gc.get_threshold() == THRESHOLDS
        assert gc.get_freeze_count() > 1_000
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


@pytest.mark.long
def test_it_is_as_before_after_a_server_that_failed() -> None:
    before = gc.get_threshold()
    with pytest.raises(ValueError, match="the server fails"), rare_collections():
        raise ValueError("the server fails")
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)
