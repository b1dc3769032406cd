"""How far a commit reaches: the apps whose instances it may write to."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.stores.contract import Batch


def apps_of(batches: Sequence[Batch]) -> set[str]:
    """Those whose shards the turns write to."""
    found: set[str] = set()
    for batch in batches:
        found.add(batch.lease.app)
        for turn in batch.turns:
            found.update(mail.app for mail in turn.mail if mail.app is not None)
            for creation in turn.created:
                found.add(creation.head.app)
                if creation.refusal is not None and creation.refusal.app is not None:
                    found.add(creation.refusal.app)
    return found
