"""The execution id that the wire knows: a new one for each generation, since it has no word for generations."""

from __future__ import annotations

import hashlib


def wire_execution(execution: str, generation: int) -> str:
    """32 hex digits: the engine's execution id in generation 1, else derived from it and the generation (BLAKE2b)."""
    if generation == 1:
        return execution
    return hashlib.blake2b(f"{execution}.{generation}".encode(), digest_size=16).hexdigest()
