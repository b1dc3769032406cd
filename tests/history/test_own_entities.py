"""Which entities are the engine's own."""

from __future__ import annotations

import pytest

from perdure.history.lending import lender_of
from perdure.history.own_entities import is_own
from perdure.history.slots import door_of
from perdure.history.topics import partition_ids


@pytest.mark.parametrize("id", [door_of("mails"), *partition_ids("orders"), lender_of(0, lambda _: 0)])
def test_doors_partitions_and_lenders_are_own(id):
    assert is_own(id)


@pytest.mark.parametrize("id", ["@counter@a", "@perdure@a", "order-1", ""])
def test_entities_of_apps_and_workflows_are_not(id):
    assert not is_own(id)
