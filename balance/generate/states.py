"""The generated files in one state: as the sources make them now, in a directory, or in a git revision."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from balance.errors import BalanceError
from balance.generate import build
from balance.generate.semantic import extract
from balance.generate.store import MARKER
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

_DUPLICATES = ("kubernetes", "tests")
"""Folders of generated files that repeat what other files say."""
ACCEPTED = "give two directories of balance-gen write, two files of one kind, or git revisions"


def from_sources(bundle: Bundle, settings: Settings) -> dict[str, str]:
    """The files, path and text, that the sources make now."""
    families = (build.dashboards, build.rule_files, build.alertmanager, build.mixin, build.catalog)
    return {MARKER: "", **_without_duplicates({artifact.path: artifact.text for family in families for artifact in family(bundle, settings)})}


def load(name: str, out: Path) -> dict[str, str]:
    """The files, path and text, of a directory, a single file or a git revision.

    In a revision ``v1.2`` the files are in `out`, in ``v1.2:PATH`` they are in PATH. Raises `BalanceError` if there is nothing to compare.
    """
    path = Path(name)
    try:
        if path.is_dir():
            found = {file.relative_to(path).as_posix(): file.read_text("utf-8") for file in path.rglob("*") if _wanted(file.name) and file.is_file()}
        elif path.exists():
            found = {path.name: path.read_text("utf-8")}
        else:
            found = _revision(name, out)
    except OSError as error:
        raise BalanceError(f"cannot be read: {error.strerror}", where=str(error.filename or name), cure="check the path") from None
    except UnicodeDecodeError:
        raise BalanceError("contains a file that is not UTF-8", where=name, cure=ACCEPTED) from None
    files = _without_duplicates(found)
    if not extract(files).kinds:
        raise BalanceError("contains no catalog, rules, dashboard or Alertmanager configuration", where=name, cure=ACCEPTED)
    return files


def _wanted(name: str) -> bool:
    return name.endswith((".json", ".yaml", ".yml", MARKER))


def _without_duplicates(files: Mapping[str, str]) -> dict[str, str]:
    return {path: text for path, text in files.items() if not set(PurePosixPath(path).parts[:-1]) & set(_DUPLICATES)}


def _revision(name: str, out: Path) -> dict[str, str]:
    revision, colon, inside = name.partition(":")
    tree = f"{revision}:{inside if colon else f'./{out.as_posix()}'}"
    if revision.startswith("-") or _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}") is None:
        raise BalanceError("no such file, directory or git revision", where=name, cure=ACCEPTED)
    kind = _git("cat-file", "-t", tree)
    if kind is None:
        raise BalanceError(f"does not contain {inside or out}", where=name, cure="give its path: REVISION:PATH, or --out DIR")
    if kind.strip() == b"blob":
        return {PurePosixPath(inside).name: (_git("cat-file", "blob", tree) or b"").decode("utf-8")}
    top = (_git("rev-parse", "--show-toplevel") or b".").decode().strip()  # `archive` refuses a tree in a subdirectory
    found = (_git("rev-parse", tree) or b"").decode().strip()
    with tarfile.open(fileobj=io.BytesIO(_git("-C", top, "archive", "--format=tar", found) or b"")) as archive:
        members = [member for member in archive if member.isfile() and _wanted(member.name)]
        return {member.name: file.read().decode("utf-8") for member in members if (file := archive.extractfile(member))}


def _git(*arguments: str) -> bytes | None:
    """The output of git; None if it fails. Raises `BalanceError` if git is not installed."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)  # noqa: S603, S607 (arguments are checked; found on the PATH)
    except FileNotFoundError:
        raise BalanceError("git is not installed", cure="install it, or give directories") from None
    return done.stdout if done.returncode == 0 else None
