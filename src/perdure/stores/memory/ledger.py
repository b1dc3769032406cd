"""The audit log of each app."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.stores.memory.rows import Rows


class Auditing(Rows):
    async def audit(self, app: str, after: int, entries: Sequence[bytes], digest: str) -> bool:
        there = self._audits.setdefault(app, [])
        if len(there) != after:
            return False
        there += entries
        self._audit_digests[app] = digest
        return True

    async def audit_head(self, app: str) -> tuple[int, str]:
        return len(self._audits.get(app, ())), self._audit_digests.get(app, "")

    async def audited(self, app: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        return list(enumerate(self._audits.get(app, ()), 1))[after : after + limit]
