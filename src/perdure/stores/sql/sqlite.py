"""The SQLite dialect: a file, its two connections, what its errors mean, and which places cannot hold one."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from perdure.errors import (
    InvalidArgument,
    PerdureError,
    StoreCorrupt,
    StoreFull,
    StoreNotUsable,
    StoreRolledBack,
    StoreUnavailable,
    UnknownConfiguration,
)
from perdure.stores.contract import FORMAT, OLDEST, Checkup
from perdure.stores.layout import Layout, check_alone, recognised
from perdure.stores.sql.connection import Connection, Row, Step, TransactionConflict, in_transaction
from perdure.stores.sql.guest import Guest, Permission
from perdure.stores.sql.ownership import FileOwnership, Mark
from perdure.stores.sql.runner import Runner, ThreadRunner
from perdure.stores.sql.schema import MIGRATIONS, statements
from perdure.stores.sql.store import SqlStore

T = TypeVar("T")
Driver = Callable[..., sqlite3.Connection]
"""What opens a connection: `sqlite3.connect`, or what is called and answers like it."""

BUSY_SECONDS_MAX = 5.0
"""How long a transaction waits for another process's."""
BUSY_PAUSE_SECONDS = 0.02
"""After which a wait to write begins anew, because SQLite's pauses grow until a busy owner starves it."""
CHECKPOINT_PAGES = 4_000
"""Pages in the write-ahead log from which a commit moves them into the file."""
LOG_BYTES_MAX = 64 * 1024 * 1024
"""Length to which the write-ahead log is cut after it was moved into the file."""
WRITER_CACHE_KIBIBYTES = 16_384
READER_CACHE_KIBIBYTES = 4_096
"""Less than the writer's, because pages that are only read come from the system's cache almost as fast."""
ROW_OVERHEAD_BYTES_MAX = 1024 * 1024
"""What a row may take beside its fields, keys among them."""

NETWORK_FILE_SYSTEMS = frozenset(
    (
        "9p",
        "afs",
        "ceph",
        "cifs",
        "davfs",
        "glusterfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "rclone",
        "s3fs",
        "gcsfuse",
        "smb",
        "smb2",
        "smb3",
        "sshfs",
    )
)
"""Where neither SQLite's locks nor its shared memory can be relied on."""

SYNCHRONOUS = {"full": "full", "unsafe_normal": "normal"}
"""Values of the option: `unsafe_normal` may lose the newest commits when the power fails."""


_DURABILITY = {
    "full": "A: what was committed survives a loss of power",
    "normal": "C: the newest commits may be lost when the power fails",
}


def open_store(
    url: str,
    runner: Callable[[str], Runner] = ThreadRunner,
    *,
    driver: Driver = sqlite3.connect,
    checkpoint_pages: int = CHECKPOINT_PAGES,
    read_only: bool = False,
) -> SqlStore:
    """The store at `sqlite:///relative.db` or `sqlite:////absolute.db`, not yet opened.

    Options: `?synchronous=full|unsafe_normal`, and `?shared=yes` for a file that holds tables of yours already. A
    `read_only` store has no calls that write. Raises InvalidArgument and UnknownConfiguration.
    """
    parts = urlsplit(url)
    path = unquote(parts.path[1:])
    if parts.scheme != "sqlite" or parts.netloc or not path or "\0" in path:
        raise InvalidArgument(
            f"{url!r} is no address of a SQLite file; write sqlite:///relative.db or sqlite:////absolute.db"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    synchronous = options.pop("synchronous", "full")
    shared = options.pop("shared", "no")
    if options:
        raise UnknownConfiguration(f"{url!r} has unknown options {sorted(options)}; there are synchronous and shared")
    if shared not in ("yes", "no"):
        raise UnknownConfiguration(f"shared={shared!r} is unknown; there are yes and no")
    if synchronous not in SYNCHRONOUS:
        raise UnknownConfiguration(f"synchronous={synchronous!r} is unknown; there are {', '.join(SYNCHRONOUS)}")
    database = SqliteDatabase(
        Path(path),
        SYNCHRONOUS[synchronous],
        driver=driver,
        checkpoint_pages=checkpoint_pages,
        shared=shared == "yes",
        read_only=read_only,
    )
    return SqlStore(database, runner)


class SqliteDatabase:
    """One SQLite file. `pages_max` bounds its size, None for the disk's bound; `shared` lets it hold other tables."""

    shard_count = 1
    lease_seconds: float | None = None

    def __init__(
        self,
        path: Path,
        synchronous: str = "full",
        *,
        pages_max: int | None = None,
        row_bytes_max: int = 900_000_000,
        checkpoint_pages: int = CHECKPOINT_PAGES,
        driver: Driver = sqlite3.connect,
        mounts: Path = Path("/proc/self/mountinfo"),
        shared: bool = False,
        read_only: bool = False,
    ) -> None:
        self._shared = shared
        # because a program may change its working directory while the store is open
        self._path = Path(os.path.abspath(path))
        self._synchronous = synchronous
        self._pages_max = pages_max
        self._checkpoint_pages = checkpoint_pages
        self._driver = driver
        self._mounts = mounts
        self._ownership = FileOwnership(self._path.with_name(self._path.name + ".owner"))
        self.row_bytes_max = row_bytes_max
        self.read_only = read_only

    def __repr__(self) -> str:
        return f"sqlite {self._path}"

    def check(self) -> None:
        try:
            self._check_place()
        except PermissionError as error:
            raise StoreNotUsable(f"{error.filename} cannot be reached by this user; open its directories") from error

    def _check_place(self) -> None:
        folder = self._path.parent
        if not folder.is_dir():
            raise StoreNotUsable(f"{folder} is no directory; create it, or name another place for {self._path.name}")
        if self._path.is_dir():
            raise StoreNotUsable(f"{self._path} is a directory; name a file")
        if not may(folder, os.W_OK | os.X_OK):
            raise StoreNotUsable(f"{folder} is not writable for this user; SQLite keeps files beside {self._path.name}")
        if self._path.exists() and not may(self._path, os.R_OK | os.W_OK):
            raise StoreNotUsable(f"{self._path} is not readable and writable for this user; change its owner or mode")
        kind = file_system(self._path, self._mounts)
        if kind in NETWORK_FILE_SYSTEMS:
            raise StoreNotUsable(
                f"{self._path} lies on a network file system ({kind}), whose locks do not hold; "
                "use a local disk, or a database server for several machines"
            )

    def connect(self, *, write: bool) -> Connection:
        if write:
            self.check()
        place = {"uri": True} if self.read_only else {}
        connection = self._driver(
            f"file:{quote(str(self._path))}?mode=ro" if self.read_only else self._path,
            **place,
            timeout=BUSY_PAUSE_SECONDS if write else BUSY_SECONDS_MAX,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._prepare(connection, write)
        except BaseException:
            connection.close()
            raise
        return SqliteConnection(connection, self._path)

    def _prepare(self, connection: sqlite3.Connection, write: bool) -> None:
        # first of all, because the journal of another program's database is not ours to switch; patiently,
        # because another process may be switching that of a new file
        patiently(lambda: _layout(SqliteConnection(connection, self._path), self._path, self._shared))
        if not self.read_only:
            _write_ahead(connection)
        for pragma in (
            f"synchronous = {self._synchronous}",
            f"wal_autocheckpoint = {self._checkpoint_pages}",
            f"journal_size_limit = {LOG_BYTES_MAX}",
            f"cache_size = -{WRITER_CACHE_KIBIBYTES if write else READER_CACHE_KIBIBYTES}",
            "temp_store = memory",
            "trusted_schema = off",
            f"query_only = {'off' if write else 'on'}",
        ):
            connection.execute(f"pragma {pragma}")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, self.row_bytes_max + ROW_OVERHEAD_BYTES_MAX)
        if self._pages_max is not None:
            connection.execute(f"pragma max_page_count = {self._pages_max}")
        connection.create_function("fold", 1, str.casefold, deterministic=True)

    def checkup(self, connection: Connection) -> Checkup:
        self.check()
        format = _layout(connection, self._path, self._shared).format
        old = f"the layout has format {format} and this version writes {FORMAT}; run `perdure store migrate`"
        ((version,),) = connection.rows("select sqlite_version()")
        asked = ("journal_mode", "page_size", "page_count", "freelist_count")
        found = {name: str(value) for name in asked for (value,) in connection.rows(f"pragma {name}")}
        settings = {"synchronous": self._synchronous, "file_system": file_system(self._path, self._mounts) or "unknown"}
        wrong = [f"the file is damaged ({told}); restore a copy" for told in _damage(connection)]
        return Checkup(
            f"SQLite {version}",
            format,
            _DURABILITY[self._synchronous],
            settings | found,
            wrong + ([old] if format < FORMAT else []),
        )

    def size(self, connection: Connection) -> int | None:
        beside = (self._path, self._path.with_name(self._path.name + "-wal"))
        return sum(file.stat().st_size for file in beside if file.exists())

    def recognise(self, connection: Connection) -> None:
        if not _layout(connection, self._path, self._shared).is_current:
            raise StoreNotUsable(f"{self._path} is no store of this version yet; open it once with a worker")

    def migrate(self, connection: Connection) -> None:
        if _layout(connection, self._path, self._shared).is_current:
            return
        connection.begin(write=True)
        try:
            # read again, because another process may have been faster
            found = _layout(connection, self._path, self._shared)
            owner = self.owner()
            check_alone(self._path, found, [] if owner is None or not found.format else [owner])
            for step in MIGRATIONS[found.format :]:
                for statement in statements(step):
                    connection.change(statement)
            if not found.is_current:
                connection.change_many(
                    "insert into perdure_meta (key, value) values (?1, ?2) on conflict do update set value = ?2",
                    (("format", str(FORMAT)), ("oldest", str(OLDEST))),
                )
            connection.commit()
        except BaseException:
            connection.rollback()
            raise

    def translated(self, error: Exception) -> tuple[Exception, bool]:
        if isinstance(error, sqlite3.Error):
            return _meaning(error, self._path), isinstance(error, sqlite3.ProgrammingError) or _is_harmless(error)
        if isinstance(error, TransactionConflict):
            return InvalidArgument(f"a record cannot be stored: {error}"), True
        if isinstance(error, UnicodeError):
            return InvalidArgument(f"text that is not valid Unicode cannot be stored: {error}"), True
        if isinstance(error, OverflowError):
            return InvalidArgument(f"a number of more than 64 bits cannot be stored: {error}"), True
        return error, True

    def is_passing(self, error: Exception) -> bool:
        return False

    def own(self, owner: str) -> bool:
        return self._ownership.take(owner)

    def disown(self) -> None:
        self._ownership.drop()

    def owner(self) -> str | None:
        holder = self._ownership.holder()
        return None if holder is None else str(holder)

    def marks(self) -> dict[int, Mark]:
        return self._ownership.marks

    def mark(self, marks: dict[int, Mark]) -> None:
        # because after a loss of power, a file whose newest commits may be lost can be older than a mark
        if self._synchronous == "full":
            self._ownership.mark(marks)


class SqliteConnection:
    """One connection to the SQLite file that is at `path` when it is made; a caller's own has None."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None) -> None:
        self._connection = connection
        self._is_lent = path is None
        self._path = str(path)
        self._file = _identity(self._path)
        self._permission: Permission | None = None

    def begin(self, *, write: bool) -> None:
        self._check_file()
        if write:
            patiently(lambda: self._connection.execute("begin immediate"))
        else:
            self._connection.execute("begin")

    def _check_file(self) -> None:
        """Refuse a file that nobody will find again, because what is written to it would be lost at the end."""
        if self._file is not None and _identity(self._path) != self._file:
            raise StoreRolledBack(
                f"{self._path} was replaced or removed while it was open; stop every process, put the file there "
                "that is meant, and start again"
            )

    def commit(self) -> None:
        self._connection.execute("commit")

    def rollback(self) -> None:
        # because SQLite itself has rolled back after some errors, a full disk among them
        if self._connection.in_transaction:
            self._connection.execute("rollback")

    def savepoint(self) -> None:
        self._connection.execute("savepoint turn")

    def rollback_to_savepoint(self) -> None:
        self._connection.execute("rollback to turn")
        self.release_savepoint()

    def release_savepoint(self) -> None:
        self._connection.execute("release turn")

    def rows(self, sql: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        return self._connection.execute(sql, values)

    def row(self, sql: str, values: Sequence[Any] = ()) -> Row | None:
        row: Row | None = self._connection.execute(sql, values).fetchone()
        return row

    def change(self, sql: str, values: Sequence[Any] = ()) -> int:
        try:
            return self._connection.execute(sql, values).rowcount
        except (sqlite3.IntegrityError, sqlite3.DataError) as error:
            raise TransactionConflict(str(error)) from error

    def change_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> int:
        try:
            return self._connection.executemany(sql, rows).rowcount
        except (sqlite3.IntegrityError, sqlite3.DataError) as error:
            raise TransactionConflict(str(error)) from error

    def run(self, steps: Sequence[Step]) -> None:
        # a lent connection begins its transaction by itself, and it is its owner who ends it
        if self._is_lent or self._connection.in_transaction:
            self._run(steps)
            return
        self.begin(write=True)
        try:
            self._run(steps)
            self.commit()
        except BaseException:
            self.rollback()
            raise

    def _run(self, steps: Sequence[Step]) -> None:
        for sql, rows, is_condition in steps:
            changed = self.change_many(sql, rows)
            if is_condition and changed != len(rows):
                raise TransactionConflict

    def rows_of_each(self, sql: str, keys: Collection[Sequence[Any]], limit: int | None = None) -> list[list[Row]]:
        if limit is None:
            return [self._connection.execute(sql, key).fetchall() for key in keys]
        found: list[list[Row]] = []
        for key in keys:
            found.append(list(islice(self._connection.execute(sql, key), limit)) if limit > 0 else [])
            limit -= len(found[-1])
        return found

    def row_of_each(self, sql: str, keys: Collection[Sequence[Any]]) -> list[Row | None]:
        return [self._connection.execute(sql, key).fetchone() for key in keys]

    def guest(self) -> Guest:
        if self._permission is None:  # because most stores never have a guest
            self._permission = Permission()
            self._connection.set_authorizer(self._permission)
        return Guest(self._connection, self._permission, self)

    def apart(self, work: Callable[..., T], *args: Any) -> T:
        return in_transaction(self, False, work, *args)

    def now(self) -> int:
        return time.time_ns() // 1000  # because the file has no other clock than its machine's

    def version(self) -> int:
        ((version,),) = self._connection.execute("pragma data_version")
        return int(version)

    def close(self) -> None:
        self._connection.close()


def may(path: Path, mode: int) -> bool:
    """Whether this process, with the rights that it has now, may do that."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _identity(path: str) -> tuple[int, int] | None:
    """Which file is there, whatever its name; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def file_system(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """The type of the file system that holds the path; None where the system does not say."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    place = os.path.realpath(path.parent)
    found: tuple[int, str | None] = (-1, None)
    for line in lines:
        mount, _, rest = line.partition(" - ")
        point = mount.split()[4].encode().decode("unicode_escape").rstrip("/")
        if (place == point or place.startswith(point + "/")) and len(point) >= found[0]:
            # a later mount on the same point hides the earlier one
            found = (len(point), rest.split()[0].removeprefix("fuse."))
    return found[1]


def patiently(work: Callable[[], T]) -> T:
    """Do what is refused while another process writes, as soon as it is not."""
    ends = time.monotonic() + BUSY_SECONDS_MAX
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > ends:
                raise
        time.sleep(0.001)


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging."""
    ((mode,),) = patiently(lambda: connection.execute("pragma journal_mode = wal").fetchall())
    if mode != "wal":
        raise StoreNotUsable(f"SQLite cannot keep a write-ahead log here (it chose {mode!r}); use a local disk")


def _damage(connection: Connection) -> list[str]:
    """What SQLite finds wrong with its file, the first thing alone."""
    return [told for (told,) in connection.rows("pragma quick_check(1)") if told != "ok"]


def _layout(connection: Connection, path: Path, shared: bool) -> Layout:
    """That which is there. Raises StoreVersion if it is a later one that this version cannot go on with."""
    # without those of values, which may have been made before the first workflow
    rows = connection.rows("select name from sqlite_master where type = 'table'")
    tables = {name for (name,) in rows if not name.startswith("perdure_values")}
    if "perdure_meta" not in tables:
        if tables and not shared:
            raise StoreNotUsable(
                f"{path} is a database of another program; name another file, or add ?shared=yes to the address "
                "to keep workflows beside its tables"
            )
        return Layout()
    said: dict[str, str] = dict(
        connection.rows("select key, value from perdure_meta where key in ('format', 'oldest')")
    )
    if "format" not in said:
        raise StoreCorrupt(f"{path} does not say which format it has; restore a backup")
    return recognised(path, said["format"], said.get("oldest"))


def _meaning(error: sqlite3.Error, path: Path) -> PerdureError:
    """What an error of SQLite means to the caller."""
    match _code(error):
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StoreCorrupt(
                f"{path} is damaged or no SQLite file ({error}); restore a copy, or save what is left with "
                f"`sqlite3 {path} .recover`"
            )
        case sqlite3.SQLITE_FULL:
            return StoreFull(f"no room is left for {path} ({error}); free some and try again: nothing was written")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return StoreNotUsable(
                f"{path} cannot be written ({error}); make the file and its directory writable for this user"
            )
        case _:
            return StoreUnavailable(f"{path} did not answer ({error}); whether a write happened is not known")


def _is_harmless(error: sqlite3.Error) -> bool:
    """Whether the connection is as it was; not so after an I/O error, when SQLite's view may be wrong."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL)


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code, 0 where Python's module itself raised."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
