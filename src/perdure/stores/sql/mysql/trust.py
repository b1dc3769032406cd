"""Whether a MySQL or MariaDB server can be trusted with a store: its version, its settings, its part in a cluster."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from perdure.errors import StoreNotUsable, StoreVersion

MARIADB_MIN = (10, 6)
MYSQL_MIN = (8, 0, 17)
"""The oldest whose statements these are: both know JSON_TABLE and SKIP LOCKED then."""
PACKET_BYTES_MIN = 1024 * 1024
"""What a server must take in one packet."""

MEANT = {
    "innodb_flush_log_at_trx_commit": "the newest commits may be lost when the server or the power fails",
    "sync_binlog": "the newest commits may be lost when the power fails, because recovery asks the binary log for them",
    "innodb_doublewrite": "the database may be ruined when the power fails",
    "innodb_flush_method": "commits may be lost, and the whole database ruined, when the power fails",
}
"""Settings that decide over commits, and what it means if they are wrong. Named in `?unsafe=`, they may be."""

SETTINGS = (
    *MEANT,
    *("version", "version_comment", "max_allowed_packet", "read_only", "super_read_only", "innodb_read_only"),
    *("log_bin", "binlog_format", "wsrep_on"),
    *("group_replication_group_name", "group_replication_single_primary_mode"),
)
"""The server's variables that are asked for; not every server has each."""


def is_mariadb(settings: Mapping[str, str]) -> bool:
    return "mariadb" in f"{settings['version']} {settings['version_comment']}".lower()


def check_server(settings: Mapping[str, str], address: object, unsafe: Collection[str], *, writes: bool) -> None:
    """Raises StoreVersion or StoreNotUsable with one sentence that says what to change."""
    _check_version(settings, address)
    _check_cluster(settings, address)
    if int(settings["max_allowed_packet"]) < PACKET_BYTES_MIN:
        raise StoreNotUsable(
            f"{address} takes packets of {settings['max_allowed_packet']} bytes; set max_allowed_packet = 16M or more"
        )
    if writes:
        _check_writes(settings, address)
        for setting, value, wanted in _faults(settings):
            if setting not in unsafe:
                raise StoreNotUsable(
                    f"{address} has {setting} = {value}, so {MEANT[setting]}; set it to {wanted}, or accept that with "
                    f"?unsafe={setting}"
                )


def durability(settings: Mapping[str, str]) -> str:
    """The class of the store, and what it means."""
    if _faults(settings):
        return "C: commits may be lost when the server or the power fails"
    return "A: a commit survives a loss of power, and a failover to a replica that had it"


def _check_version(settings: Mapping[str, str], address: object) -> None:
    name, least = ("MariaDB", MARIADB_MIN) if is_mariadb(settings) else ("MySQL", MYSQL_MIN)
    if _numbers(settings["version"]) < least:
        raise StoreVersion(
            f"{address} is {name} {settings['version']}; this version needs {'.'.join(map(str, least))} or later, so "
            "upgrade the server"
        )


def _check_cluster(settings: Mapping[str, str], address: object) -> None:
    if settings.get("wsrep_on") == "ON":
        raise StoreNotUsable(
            f"{address} is a node of a Galera cluster (wsrep_on), whose nodes do not see each other's locks; use a "
            "single primary"
        )
    if settings.get("group_replication_group_name") and settings.get("group_replication_single_primary_mode") == "OFF":
        raise StoreNotUsable(
            f"{address} belongs to a group of several primaries; set group_replication_single_primary_mode to ON"
        )


def _check_writes(settings: Mapping[str, str], address: object) -> None:
    for name in ("read_only", "super_read_only", "innodb_read_only"):
        if settings.get(name, "OFF") != "OFF":
            raise StoreNotUsable(f"{address} is read-only ({name}), as a replica is; name the primary server")
    if settings["log_bin"] == "ON" and settings["binlog_format"] == "STATEMENT":
        raise StoreNotUsable(
            f"{address} logs statements (binlog_format), which it refuses for READ COMMITTED; set binlog_format to ROW"
        )


def _faults(settings: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Settings by which a power cut loses commits: each with its value, and the one to set."""
    has_binlog = settings["log_bin"] == "ON"
    right = {
        "innodb_flush_log_at_trx_commit": settings["innodb_flush_log_at_trx_commit"] == "1",
        "sync_binlog": not has_binlog or settings["sync_binlog"] == "1",
        "innodb_doublewrite": settings.get("innodb_doublewrite", "ON") in ("ON", "1", "DETECT_AND_RECOVER"),
        "innodb_flush_method": settings.get("innodb_flush_method") not in ("nosync", "littlesync"),
    }
    wanted = {"innodb_doublewrite": "ON", "innodb_flush_method": "fsync"}
    return [(name, settings[name], wanted.get(name, "1")) for name, is_right in right.items() if not is_right]


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version; those of MariaDB follow the word that MySQL's clients of old needed."""
    plain = version.removeprefix("5.5.5-").split("-", 1)[0]
    return tuple(int(part) for part in plain.split(".") if part.isdigit())
