"""The output directory: compare it with the artifacts, and bring it up to date in one step."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Literal

from balance.errors import StoreError
from balance.render.artifact import Artifact

MARKER = "GENERATED.md"
"""The file by which a directory of balance-gen is recognised."""
MARKER_TEXT = """# Made by balance-gen

Everything in this directory is made from the metric catalog, the dashboards and the rules, and is overwritten or removed by
`balance-gen write`. To change it, change the sources and write again. `balance-gen check` tells whether it is up to date.
"""


@dataclass(frozen=True)
class FileChange:
    """A file that differs from its artifact. `old` is its text, `new` that of the artifact; None where there is none."""

    path: str
    old: str | None
    new: str | None

    @property
    def kind(self) -> Literal["missing", "changed", "orphaned"]:
        """What is wrong with the file in the directory."""
        if self.old is None:
            return "missing"
        return "orphaned" if self.new is None else "changed"

    def diff(self) -> str:
        """A unified diff from the file to the artifact."""
        lines = unified_diff(
            (self.old or "").splitlines(keepends=True),
            (self.new or "").splitlines(keepends=True),
            f"{self.path} (on disk)" if self.old is not None else "/dev/null",
            f"{self.path} (generated)" if self.new is not None else "/dev/null",
        )
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def plan(directory: Path, artifacts: Iterable[Artifact]) -> list[FileChange]:
    """The changes, sorted by path, after which the directory holds exactly the artifacts.

    Raises `StoreError` if it is not a directory, cannot be read, or contains files but was not made by balance-gen.
    """
    made = {artifact.path: artifact.text for artifact in (*artifacts, Artifact(MARKER, MARKER_TEXT))}
    there = dict(_files(directory))
    changes = [FileChange(path, there.get(path), made.get(path)) for path in sorted(there.keys() | made.keys())]
    return [change for change in changes if change.old != change.new]


def write(directory: Path, artifacts: Iterable[Artifact]) -> None:
    """Write the artifacts into the directory, and leave its other files alone. Raises `StoreError` as `apply` does."""
    apply(directory, (FileChange(artifact.path, None, artifact.text) for artifact in artifacts))


def apply(directory: Path, changes: Iterable[FileChange]) -> None:
    """Write all new files under temporary names, rename them, then remove orphans.

    Raises `StoreError` if a file cannot be written. Nothing has changed then, unless a rename failed after others succeeded:
    everything that can be checked is checked first.
    """
    changes = list(changes)
    for change in changes:
        path = directory / change.path
        if path.is_dir() and not path.is_symlink():
            raise StoreError("is a directory, but must be a file", where=str(path), cure="remove it")
        if change.new is None and not os.access(path.parent, os.W_OK):
            raise StoreError("cannot be removed", where=str(path), cure="check the permissions of its directory")
    staged: list[tuple[str, Path]] = []
    try:
        for change in changes:
            if change.new is not None:
                target = directory / change.path
                staged.append((_stage(target, change.new), target))
        for temporary, target in staged:
            os.replace(temporary, target)
        for change in changes:
            if change.new is None:
                _remove(directory, directory / change.path)
    except OSError as error:
        raise StoreError(
            f"cannot be written: {error.strerror}", where=str(error.filename or directory), cure="check the path and its permissions"
        ) from None
    finally:
        for temporary, _ in staged:
            Path(temporary).unlink(missing_ok=True)


def _files(directory: Path) -> Iterator[tuple[str, str]]:
    """Path and text of every file, except hidden ones and those in hidden directories such as ``.git``."""
    try:
        directory.stat()
        if any(directory.iterdir()) and not _marked(directory):
            raise StoreError(f"contains files but no {MARKER} of balance-gen", where=str(directory), cure="name an empty or new directory with --out")
        for path in sorted(directory.rglob("*")):
            name = path.relative_to(directory)
            if any(part.startswith(".") for part in name.parts):
                continue
            if path.is_symlink():
                yield name.as_posix(), f"a link to {path.readlink()}"
            elif path.is_file():
                yield name.as_posix(), path.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise StoreError("is not a directory", where=str(directory), cure="name a directory with --out") from None
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", where=str(error.filename), cure="check the path and its permissions") from None


def _marked(directory: Path) -> bool:
    marker = directory / MARKER
    return marker.is_file() and marker.read_bytes().startswith(MARKER_TEXT.partition("\n")[0].encode())


def _stage(target: Path, text: str) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
        file.write(text)
        os.fchmod(file.fileno(), 0o644)
    return name


def _remove(directory: Path, path: Path) -> None:
    path.unlink()
    for parent in path.parents:
        if parent == directory or any(parent.iterdir()):
            break
        parent.rmdir()
