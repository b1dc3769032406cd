"""What tests of workflows and of stores need."""

from perdure.testing.run import run

__all__ = ["run"]
