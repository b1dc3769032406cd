"""State: values by key that outlive the program, with ETags, transactions and times to live."""

from perdure.blocks.state.state import Change, Found, State
from perdure.errors import EtagMismatch, StateStoreNotFound
from perdure.stores.values.contract import DEFAULT_SPACE, Delete, Item, Put, StateStore
from perdure.stores.values.opening import open_values

__all__ = [
    "State",
    "Found",
    "Change",
    "StateStore",
    "Item",
    "Put",
    "Delete",
    "EtagMismatch",
    "StateStoreNotFound",
    "open_values",
    "DEFAULT_SPACE",
]
