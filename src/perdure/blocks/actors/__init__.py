"""Actors as their users meet them: a class with durable state, called from anywhere, one turn at a time."""

from perdure.blocks.actors.actor import Actor
from perdure.blocks.actors.calling import send

__all__ = ["Actor", "send"]
