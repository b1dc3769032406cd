"""How a `find` becomes SQL: which table leads, which conditions follow, where the page begins."""

from __future__ import annotations

from typing import Any

from perdure.stores.contract import Query
from perdure.stores.sql.statements import head_columns

COLUMNS = head_columns("head")
Position = tuple[int, str, int]


class Search:
    """The SQL for one page of one app's instances of one status (None: of any), and its values."""

    def __init__(self, query: Query, app: str, status: str | None, position: Position | None, limit: int) -> None:
        self.values: list[Any] = []
        self._conditions: list[str] = []
        tags = list((query.tags or {}).items())
        self._source, self._order = self._lead(app, tags[:1])
        self._created = self._order[0]
        self._direction = "desc"
        if query.by_end:
            self._order, self._direction = ("head.finished", "head.id", "head.shard"), "asc"
            self._conditions.append("head.finished is not null")
        if query.shard is not None:
            self._require("head.shard = {}", query.shard)
        if query.kind is not None:
            self._require("head.kind = {}", query.kind)
        if status is not None:
            self._require("head.status = {}", status)
        self._filter(query)
        for key, value in tags[1:]:
            self._require_tag(key, value)
        if position is not None:
            self._begin_after(position)
        self.sql = (
            f"select {COLUMNS} from {self._source} where {' and '.join(self._conditions)} "
            f"order by {', '.join(f'{column} {self._direction}' for column in self._order)} "
            f"limit {self._value(limit)}"
        )

    def _lead(self, app: str, tag: list[tuple[str, str]]) -> tuple[str, tuple[str, str, str]]:
        """Begin with the tag's rows if there is one, because few instances have it, else with the app's."""
        if not tag:
            self._require("head.app = {}", app)
            return "perdure_head as head", ("head.created", "head.id", "head.shard")
        self._require("tag.app = {}", app)
        self._require("tag.key = {}", tag[0][0])
        self._require("tag.value = {}", tag[0][1])
        joined = (
            "perdure_tag as tag cross join perdure_head as head on head.shard = tag.shard and head.id = tag.instance"
        )
        return joined, ("tag.created", "tag.instance", "tag.shard")

    def _filter(self, query: Query) -> None:
        created = self._created
        if query.name is not None:
            self._require("head.name = {}", query.name)
        if query.created_after is not None:
            self._require(f"{created} >= {{}}", query.created_after)
        if query.created_before is not None:
            self._require(f"{created} < {{}}", query.created_before)
        if query.finished_after is not None:
            self._require("head.finished >= {}", query.finished_after)
        if query.finished_before is not None:
            self._require("head.finished < {}", query.finished_before)
        if query.parent is not None:
            self._require("head.parent = {}", query.parent)
        if query.text is not None:
            found = "(instr(fold(head.id), fold({0})) > 0 or instr(fold(head.name), fold({0})) > 0)"
            self._require(found, query.text)
        self._require_presence("head.suspended", query.suspended)
        self._require_presence("head.stalled", query.stalled)

    def _require_tag(self, key: str, value: str) -> None:
        self._conditions.append(
            "exists (select 1 from perdure_tag other where other.shard = head.shard and other.instance = head.id "
            f"and other.key = {self._value(key)} and other.value = {self._value(value)})"
        )

    def _require_presence(self, column: str, wanted: bool | None) -> None:
        if wanted is not None:
            self._conditions.append(f"{column} is {'not ' if wanted else ''}null")

    def _begin_after(self, position: Position) -> None:
        values = ", ".join(self._value(part) for part in position)
        comes_after = "<" if self._direction == "desc" else ">"
        self._conditions.append(f"({', '.join(self._order)}) {comes_after} ({values})")

    def _require(self, condition: str, value: Any) -> None:
        self._conditions.append(condition.format(self._value(value)))

    def _value(self, value: Any) -> str:
        self.values.append(value)
        return f"?{len(self.values)}"
