"""An SDK under test: its folder of `sdks/`, what it pins, and the copy in which its program is installed and runs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.compat.scenarios import EXTRAS, SCENARIOS, Scenario

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).parent / "sdks"
CACHE = Path(os.environ.get("COMPAT_CACHE", ROOT / ".ci" / "out" / "compat"))
SETUP_SECONDS = 600
"""What one command of `setup` or `build` may take: it downloads, or compiles."""


@dataclass(frozen=True)
class Sdk:
    """What `sdk.toml` says; README.md beside this file explains each key. `sources` are the folders of its files."""

    name: str
    title: str
    language: str
    flavour: str
    worker: str
    client: str
    pins: tuple[str, ...]
    sources: tuple[Path, ...]
    setup: tuple[str, ...] = ()
    build: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    recorded: str = ""
    gives_up: str = ""
    packages: dict[str, str] = field(default_factory=dict)
    gaps: dict[str, str] = field(default_factory=dict)

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """The rows in which this SDK has a cell."""
        return SCENARIOS + tuple(extra for extra in EXTRAS if extra.name in self.extras)

    @property
    def home(self) -> Path:
        """Where the program lies and runs: a folder for each content of its pins and each way of setting it up."""
        digest = hashlib.sha256(repr((self.setup, sys.version_info[:2])).encode())
        for pin in self.pins:
            digest.update(self._source_of(pin).read_bytes())
        return CACHE / f"{self.name}-{digest.hexdigest()[:12]}"

    def _source_of(self, file: str) -> Path:
        return next(folder / file for folder in reversed(self.sources) if (folder / file).exists())


def load(folder: Path) -> Sdk:
    """Read the `sdk.toml` of a folder. Raises TypeError for a key that no one knows or that is missing."""
    keys = tomllib.loads((folder / "sdk.toml").read_text(encoding="utf-8"))
    shared = [folder.parent / name for name in keys.pop("from", [])]
    lists = {key: tuple(value) for key, value in keys.items() if isinstance(value, list)}
    return Sdk(name=folder.name, sources=(*shared, folder), **{**keys, **lists})


def every() -> list[Sdk]:
    """All SDKs, in the order of the matrix: by language, then by name."""
    sdks = [load(file.parent) for file in FOLDER.glob("*/sdk.toml")]
    return sorted(sdks, key=lambda sdk: (bool(sdk.recorded), sdk.language != "Python", sdk.language, sdk.name))


def prepare(sdk: Sdk) -> Path:
    """Bring the copy up to date, install and build as far as needed, and return its folder.

    Raises CalledProcessError or TimeoutExpired when a command fails; what it printed is in `compat.log` of the folder.
    """
    home = sdk.home
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home / "compat.lock"):
        _copy(sdk, home)
        _once(sdk.setup, home, home / "compat.setup", repr(sdk.setup))
        _once(sdk.build, home, home / "compat.build", _digest(sdk.sources))
    return home


def python_with(name: str, *requirements: str) -> Path:
    """The Python of an environment that has these requirements (words of pip), made once by whoever comes first."""
    pip = shlex.join(("install", "--quiet", "--disable-pip-version-check", *requirements))
    setup = ("{python} -m venv --clear --without-pip .venv", "{python} -m pip --python .venv/bin/python " + pip)
    files = [Path(word).read_bytes() for word in requirements if Path(word).is_file()]
    digest = hashlib.sha256(repr((setup, files, sys.version_info[:2])).encode()).hexdigest()[:12]
    home = CACHE / f"{name}-{digest}"
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home / "compat.lock"):
        _once(setup, home, home / "compat.setup", repr(setup))
    return home / ".venv" / "bin" / "python"


def _copy(sdk: Sdk, home: Path) -> None:
    for source in sdk.sources:
        for file in source.rglob("*"):
            target = home / file.relative_to(source)
            if file.is_dir() or "__pycache__" in file.parts or "node_modules" in file.parts:
                continue
            if target.exists() and target.read_bytes() == file.read_bytes():
                continue  # because a newer date would have build tools compile it again
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def _digest(sources: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for source in sources:
        for file in sorted(source.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(str(file.relative_to(source)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _once(commands: tuple[str, ...], home: Path, stamp: Path, state: str) -> None:
    """Run the commands unless the stamp says that they succeeded for this state."""
    if stamp.exists() and stamp.read_text() == state:
        return
    stamp.unlink(missing_ok=True)
    with (home / "compat.log").open("ab") as log:
        for command in commands:
            log.write(f"\n$ {command}\n".encode())
            log.flush()
            subprocess.run(
                words(command),
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=True,
                timeout=SETUP_SECONDS,
            )
    stamp.write_text(state)


def words(command: str) -> list[str]:
    """A command of `sdk.toml` as its words."""
    return [word.replace("{python}", sys.executable) for word in shlex.split(command)]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a folder, because two test processes may need the same program."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
