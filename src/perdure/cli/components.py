"""The components of an app: from the folders that a command names, else the usual ones."""

from __future__ import annotations

import os
from pathlib import Path

from perdure.blocks.resources import USUAL, Resources, read_resources
from perdure.errors import InvalidArgument


def resources_in(folders: tuple[Path, ...]) -> Resources:
    """What the files of the folders say, read as Dapr reads them. Raises InvalidArgument and UnknownConfiguration."""
    if not folders:
        return USUAL
    try:
        return read_resources(folders, os.environ)
    except ImportError as error:
        raise InvalidArgument('resource files need PyYAML: pip install "perdure[cli,server]"') from error
