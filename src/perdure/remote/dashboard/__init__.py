"""The dashboard: pages about instances, made on the server and served to a browser."""

from perdure.remote.dashboard.application import application
from perdure.remote.dashboard.targets import Place, Target, Targets
from perdure.sdk.role import Role

__all__ = ["Place", "Role", "Target", "Targets", "application"]
