"""Every state call of Dapr's published client for Python, against the server that the environment names."""

from __future__ import annotations

import time
from typing import Any

import grpc
from dapr.clients import DaprClient
from dapr.clients.grpc._request import (
    TransactionalStateOperation,
    TransactionOperationType,
)
from dapr.clients.grpc._state import Concurrency, Consistency, StateItem, StateOptions

STORE = "statestore"
FIRST = StateOptions(consistency=Consistency.strong, concurrency=Concurrency.first_write)


def refused(call: Any, code: grpc.StatusCode, *given: Any, **options: Any) -> None:
    """The call has to fail with that status."""
    found = None
    try:
        call(*given, **options)
    except grpc.RpcError as error:
        found = error.code()
    assert found == code, f"{call.__name__}: {found}"


def one_value(client: DaprClient) -> None:
    absent = client.get_state(STORE, "absent")
    assert (absent.data, absent.etag) == (b"", ""), absent
    client.save_state(STORE, "one", "first", state_metadata={"contentType": "text/plain"})
    found = client.get_state(STORE, "one")
    assert found.data == b"first", found.data
    client.save_state(STORE, "one", "second", etag=found.etag, options=FIRST)
    refused(client.save_state, grpc.StatusCode.ABORTED, STORE, "one", "third", etag=found.etag, options=FIRST)
    refused(client.save_state, grpc.StatusCode.ABORTED, STORE, "one", "third", options=FIRST)
    assert client.get_state(STORE, "one").data == b"second"
    refused(client.delete_state, grpc.StatusCode.ABORTED, STORE, "one", etag=found.etag)
    client.delete_state(STORE, "one", etag=client.get_state(STORE, "one").etag)
    assert client.get_state(STORE, "one").data == b""
    client.delete_state(STORE, "one")


def several_values(client: DaprClient) -> None:
    client.save_bulk_state(STORE, [StateItem(key=f"bulk{n}", value=str(n)) for n in range(5)])
    found = client.get_bulk_state(STORE, [f"bulk{n}" for n in range(6)], parallelism=2)
    assert {one.key: one.data for one in found.items} == {
        **{f"bulk{n}": str(n).encode() for n in range(5)},
        "bulk5": b"",
    }
    assert all(one.error == "" for one in found.items)


def a_transaction(client: DaprClient) -> None:
    etag = client.get_state(STORE, "bulk0").etag
    upsert, delete = TransactionOperationType.upsert, TransactionOperationType.delete
    client.execute_state_transaction(
        STORE,
        [
            TransactionalStateOperation(key="bulk0", data="new", etag=etag, operation_type=upsert),
            TransactionalStateOperation(key="bulk1", operation_type=delete, data=b""),
        ],
    )
    assert client.get_state(STORE, "bulk0").data == b"new"
    assert client.get_state(STORE, "bulk1").data == b""
    refused(
        client.execute_state_transaction,
        grpc.StatusCode.ABORTED,
        STORE,
        [
            TransactionalStateOperation(key="bulk2", data="new", operation_type=upsert),
            TransactionalStateOperation(key="bulk0", data="newer", etag=etag, operation_type=upsert),
        ],
    )
    assert client.get_state(STORE, "bulk2").data == b"2"


def time_to_live(client: DaprClient) -> None:
    client.save_state(STORE, "short", "1", state_metadata={"ttlInSeconds": "1"})
    assert client.get_state(STORE, "short").data == b"1"
    refused(
        client.save_state,
        grpc.StatusCode.INVALID_ARGUMENT,
        STORE,
        "short",
        "1",
        state_metadata={"ttlInSeconds": "soon"},
    )
    time.sleep(1.2)
    assert client.get_state(STORE, "short").data == b""


def what_is_refused(client: DaprClient) -> None:
    refused(client.get_state, grpc.StatusCode.INVALID_ARGUMENT, "unknown", "a")
    refused(client.get_state, grpc.StatusCode.INVALID_ARGUMENT, STORE, "other-app||a")
    refused(client.query_state, grpc.StatusCode.UNIMPLEMENTED, STORE, "{}")


def what_is_offered(client: DaprClient) -> None:
    offered = {one.name: one for one in client.get_metadata().registered_components}
    assert offered[STORE].type.startswith("state."), offered
    assert {"ETAG", "TRANSACTIONAL", "TTL"} <= set(offered[STORE].capabilities), offered[STORE]


def main() -> None:
    with DaprClient() as client:
        for step in (one_value, several_values, a_transaction, time_to_live, what_is_refused, what_is_offered):
            step(client)
            print(f"{step.__name__}: well", flush=True)


if __name__ == "__main__":
    main()
