"""Generated files as they are now, in a directory, or in a git revision."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from balance.errors import BalanceError
from balance.generate import build
from balance.generate.semantic import read
from balance.generate.store import MARK
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

_MADE_TWICE = ("kubernetes", "tests")
"""Folders of what is generated that say again what other files say."""
TAKES = "give two directories of balance-gen write, two files of one kind, or git revisions"


def made(bundle: Bundle, settings: Settings) -> dict[str, str]:
    families = (build.dashboards, build.rule_files, build.alertmanager, build.mixin, build.catalog)
    return {MARK: "", **_told({artifact.path: artifact.text for family in families for artifact in family(bundle, settings)})}


def files(name: str, out: Path) -> dict[str, str]:
    """The files of a directory, a single file, or a git revision: ``v1.2`` means the directory of generated files there, ``v1.2:PATH`` another."""
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
        raise BalanceError("holds a file that is no UTF-8 text", where=name, cure=TAKES) from None
    told = _told(found)
    if not read(told).kinds:
        raise BalanceError("holds no catalog, rules, dashboard or Alertmanager configuration", where=name, cure=TAKES)
    return told


def _wanted(name: str) -> bool:
    return name.endswith((".json", ".yaml", ".yml", MARK))


def _told(files: Mapping[str, str]) -> dict[str, str]:
    return {path: text for path, text in files.items() if not set(PurePosixPath(path).parts[:-1]) & set(_MADE_TWICE)}


def _revision(name: str, out: Path) -> dict[str, str]:
    revision, colon, inside = name.partition(":")
    tree = f"{revision}:{inside if colon else f'./{out.as_posix()}'}"
    if revision.startswith("-") or _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}") is None:
        raise BalanceError("is no file, no directory and no git revision here", where=name, cure=TAKES)
    kind = _git("cat-file", "-t", tree)
    if kind is None:
        raise BalanceError(f"has no {inside or out}", where=name, cure="say where it is: REVISION:PATH, or --out DIR")
    if kind.strip() == b"blob":
        return {PurePosixPath(inside).name: (_git("cat-file", "blob", tree) or b"").decode("utf-8")}
    top = (_git("rev-parse", "--show-toplevel") or b".").decode().strip()  # below it, `archive` refuses a tree
    found = (_git("rev-parse", tree) or b"").decode().strip()
    with tarfile.open(fileobj=io.BytesIO(_git("-C", top, "archive", "--format=tar", found) or b"")) as archive:
        members = [member for member in archive if member.isfile() and _wanted(member.name)]
        return {member.name: file.read().decode("utf-8") for member in members if (file := archive.extractfile(member))}


def _git(*arguments: str) -> bytes | None:
    """What git prints; None if it refuses. Raises `BalanceError` if there is no git."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)  # noqa: S603, S607 (arguments are checked; found on the PATH)
    except FileNotFoundError:
        raise BalanceError("git is not installed", cure="install it, or give directories") from None
    return done.stdout if done.returncode == 0 else None
