"""How code leaves a run without having come to its end: what it raises then is no error of its own."""

from __future__ import annotations


class Sealed(BaseException):
    """The run is being put away, or is over; nothing that its code does while it unwinds is recorded."""


class ContinueAsNew(BaseException):
    """Ends the run's code so that its next generation can start."""
