"""The fuzzing of the gRPC port finds what is wrong. That it finds nothing else, a suite of `make ci` shows."""

from __future__ import annotations

import pytest

from tests.fuzz.grpc_api import Unclean, fuzz

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]


def test_a_defect_is_found():
    with pytest.raises(Unclean, match=r"RaiseEvent.*INTERNAL"):
        fuzz(4, 6_000, program="tests.fuzz.faulty_server")
