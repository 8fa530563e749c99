"""The output directory: compare it with what the code makes, and bring it up to date in one step."""

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

MARK = "GENERATED.md"
MARK_TEXT = """# Made by balance-gen

Everything in this directory is made from the metric catalog, the dashboards and the rules, and is overwritten or removed by
`balance-gen write`. To change it, change the sources and write again. `balance-gen check` tells whether it is up to date.
"""


@dataclass(frozen=True)
class Change:
    """How one file of the directory differs from what the code makes. `old` and `new` are texts, None where there is none."""

    path: str
    old: str | None
    new: str | None

    @property
    def kind(self) -> Literal["missing", "changed", "orphaned"]:
        """What is the matter with the file in the directory."""
        if self.old is None:
            return "missing"
        return "orphaned" if self.new is None else "changed"

    def diff(self) -> str:
        """A unified diff from what is there to what the code makes."""
        lines = unified_diff(
            (self.old or "").splitlines(keepends=True),
            (self.new or "").splitlines(keepends=True),
            f"{self.path} (there)" if self.old is not None else "/dev/null",
            f"{self.path} (made)" if self.new is not None else "/dev/null",
        )
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def plan(directory: Path, artifacts: Iterable[Artifact]) -> list[Change]:
    """What has to change for the directory to hold exactly the artifacts, sorted by path.

    Raises `StoreError` if it is no directory, cannot be read, or holds files and was not made by balance-gen.
    """
    made = {artifact.path: artifact.text for artifact in (*artifacts, Artifact(MARK, MARK_TEXT))}
    there = dict(_files(directory))
    changes = [Change(path, there.get(path), made.get(path)) for path in sorted(there.keys() | made.keys())]
    return [change for change in changes if change.old != change.new]


def apply(directory: Path, changes: Iterable[Change]) -> None:
    """Carry out the changes: all new files are written beside their places first, then renamed, then orphans are removed.

    Raises `StoreError` if something cannot be written. Nothing has been changed then, unless a rename fails between two others:
    what can be known beforehand is checked first.
    """
    changes = list(changes)
    for change in changes:
        path = directory / change.path
        if path.is_dir() and not path.is_symlink():
            raise StoreError("is a directory where a file must be", where=str(path), cure="remove it")
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
    """Path and text of every file that is there, those of hidden files and directories (``.git``) excepted: they are not ours."""
    try:
        directory.stat()
        if any(directory.iterdir()) and not _marked(directory):
            raise StoreError(f"holds files and no {MARK} of balance-gen's", where=str(directory), cure="name an empty or new directory with --out")
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
        raise StoreError("is no directory", where=str(directory), cure="name a directory with --out") from None
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", where=str(error.filename), cure="check the path and its permissions") from None


def _marked(directory: Path) -> bool:
    mark = directory / MARK
    return mark.is_file() and mark.read_bytes().startswith(MARK_TEXT.partition("\n")[0].encode())


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
