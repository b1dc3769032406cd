"""The next version of Perdure, made from this one: a copy of the tree whose layout is one step further."""

from __future__ import annotations

import shutil
from pathlib import Path

from perdure.stores.contract import FORMAT

SOURCES = Path(__file__).parents[2] / "src"
NEXT_FORMAT = FORMAT + 1
BORN = "next"
"""What the next version notes in the head of each instance that it makes, under `born`."""
HALF_WAY = "half way"
"""What a migration says that then waits to be killed."""

_COLUMN = "alter table perdure_head add column region varchar(20) default 'here'"
_COUNTED = "insert into perdure_meta ({key}, value) values ('steps', '1') {again}"
_POSTGRES = "on conflict (key) do update set value = perdure_meta.value || '1'"
_MYSQL = "on duplicate key update value = concat(value, '1')"


def make(folder: Path, *, halts: bool = False) -> Path:
    """The folder of its sources. With `halts` its migration stands still between two steps, for somebody to kill it."""
    sources = folder / "src"
    shutil.copytree(SOURCES, sources, ignore=shutil.ignore_patterns("__pycache__"))
    edit = _Editor(sources / "perdure")
    edit("stores/contract/bounds.py", f"\nFORMAT = {FORMAT}\n", f"\nFORMAT = {NEXT_FORMAT}\n")
    edit("history/creation.py", "more: dict[str, Any] = {}", f'more: dict[str, Any] = {{"born": "{BORN}"}}')

    counted = _COUNTED.format(key="key", again="on conflict (key) do update set value = value || '1'")
    edit("stores/sql/schema.py", f"FORMAT_{FORMAT})\n", f'FORMAT_{FORMAT}, """{_COLUMN};{counted}""")\n')
    counted = _COUNTED.format(key="key", again=_POSTGRES)
    wait = "select pg_sleep(60);" if halts else ""
    edit(
        "stores/sql/postgres/schema.py",
        f"{FORMAT}: FORMAT_{FORMAT}}}",
        f'{FORMAT}: FORMAT_{FORMAT}, {NEXT_FORMAT}: """{_COLUMN};{wait}{counted}"""}}',
    )
    counted = _COUNTED.format(key="`key`", again=_MYSQL)
    steps = (_COLUMN, *(["select sleep(60)"] if halts else []), counted)
    last = f"({FORMAT}, FORMAT_{FORMAT}))"
    edit("stores/sql/mysql/schema.py", last, f"{last[:-1]}, ({NEXT_FORMAT}, {steps!r}))")
    if halts:
        change = "                    connection.change(statement)\n"
        pause = f"                    print({HALF_WAY!r}, flush=True); time.sleep(60)\n"
        edit("stores/sql/sqlite.py", change, change + pause)
    return sources


class _Editor:
    """Replaces text that stands once in a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str, before: str, after: str) -> None:
        path = self._folder / name
        text = path.read_text()
        assert text.count(before) == 1, f"{before!r} stands in {name} {text.count(before)} times"
        path.write_text(text.replace(before, after))
