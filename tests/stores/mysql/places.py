"""What is asked of the place of a test."""

from __future__ import annotations

from perdure.stores.sql.mysql.address import read_address


def database_of(address: str) -> str:
    return read_address(address).database
