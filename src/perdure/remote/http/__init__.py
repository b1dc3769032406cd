"""Dapr's workflow API over HTTP: a door to the same engine for whoever has no SDK at hand."""

from perdure.remote.http.application import http_app
from perdure.remote.http.document import document
from perdure.remote.http.hub import Hub
from perdure.remote.http.listener import HttpListener

__all__ = ["Hub", "HttpListener", "document", "http_app"]
