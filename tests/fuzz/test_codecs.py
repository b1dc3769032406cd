"""What the fuzzing of the codecs has found is refused ever after; no fuzzer is needed for that."""

from __future__ import annotations

import pytest

from tests.fuzz.codecs import SEEDS
from tests.remote.wire.readers import offer


@pytest.mark.parametrize("seed", sorted(SEEDS.iterdir()), ids=lambda seed: seed.name)
def test_a_kept_seed_is_read_or_refused(seed):
    offer(seed.read_bytes())
