"""Agents over HTTP, as an ASGI application for a server of yours: OpenAI's chat protocol, runs and their events."""

from perdure.agents.web.application import application

__all__ = ["application"]
