"""The suite is all of its topics, because a store passes what it is not asked."""

import importlib
import pkgutil
from collections import Counter

from perdure.testing import conformance
from perdure.testing.conformance import StoreConformance
from perdure.testing.conformance.stage import Stage


def topics() -> list[type[Stage]]:
    names = [f"{conformance.__name__}.{found.name}" for found in pkgutil.iter_modules(conformance.__path__)]
    everything = [one for name in names for one in vars(importlib.import_module(name)).values()]
    classes = {one for one in everything if isinstance(one, type) and issubclass(one, Stage)}
    return sorted(classes - {Stage}, key=lambda topic: topic.__name__)


def test_every_topic_is_asked() -> None:
    assert topics() == sorted(StoreConformance.__bases__, key=lambda topic: topic.__name__)


def test_no_topic_hides_a_test_of_another() -> None:
    tests = Counter(name for topic in topics() for name in vars(topic) if name.startswith("test_"))
    assert [name for name, times in tests.items() if times > 1] == []
    assert set(tests) == {name for name in dir(StoreConformance) if name.startswith("test_")}
