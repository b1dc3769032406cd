"""The doors: an `App`, which runs what is registered with it, and a `Client`, which drives that from outside."""

from perdure.app.address import is_server, open_store
from perdure.app.app import App
from perdure.app.client import Client

__all__ = ["App", "Client", "is_server", "open_store"]
