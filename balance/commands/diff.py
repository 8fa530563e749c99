"""`balance-gen diff`: what two states of the generated files differ in, for people, for a pull request, for programs."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from balance.commandline import FINDINGS, FINE
from balance.errors import BalanceError
from balance.finding import Finding, FindingSeverity, report
from balance.generate import build
from balance.generate.changes import LEVELS, Change, Level, compare, verdict
from balance.generate.semantic import read
from balance.generate.store import MARK
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

_SEVERITY: dict[Level, FindingSeverity] = {"breaking": "error", "notable": "warning", "harmless": "info"}
_CURE: dict[Level, str] = {
    "breaking": "keep it for those who rely on it, or announce it first: renamed_from, deprecated_since, remove_after",
    "notable": "tell those who look at it or are told by it",
    "harmless": "nothing to do",
}
_MADE_TWICE = ("kubernetes", "tests")
"""Folders of what is generated that say again what other files say."""


def diff(options: Namespace, bundle: Bundle, settings: Settings) -> int:
    """Print what has changed from one side to the other, or to what the sources make now."""
    old = read(_files(options.old, options.out))
    new = read(_files(options.new, options.out) if options.new else _made(bundle, settings))
    if not old.kinds & new.kinds:
        raise BalanceError("have nothing in common that could be compared", where=f"{options.old}, {options.new or 'the sources'}", cure=_TAKES)
    changes = compare(old, new)
    summary: dict[str, object] = {"verdict": verdict(changes)}
    summary |= {level: sum(change.level == level for change in changes) for level in LEVELS}
    sys.stdout.write(_FORMATS[options.format](changes, summary, options))
    if options.format == "text":
        print(_totals(summary), file=sys.stderr)
    worst = LEVELS.index(options.fail_on) if options.fail_on else -1
    return FINDINGS if any(LEVELS.index(change.level) <= worst for change in changes) else FINE


_TAKES = "give two directories of balance-gen write, two files of one kind, or git revisions"


def _made(bundle: Bundle, settings: Settings) -> dict[str, str]:
    families = (build.dashboards, build.rule_files, build.alertmanager, build.mixin, build.catalog)
    return {MARK: "", **_told({artifact.path: artifact.text for family in families for artifact in family(bundle, settings)})}


def _files(name: str, out: Path) -> dict[str, str]:
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
        raise BalanceError("holds a file that is no UTF-8 text", where=name, cure=_TAKES) from None
    told = _told(found)
    if not read(told).kinds:
        raise BalanceError("holds no catalog, rules, dashboard or Alertmanager configuration", where=name, cure=_TAKES)
    return told


def _wanted(name: str) -> bool:
    return name.endswith((".json", ".yaml", ".yml", MARK))


def _told(files: Mapping[str, str]) -> dict[str, str]:
    return {path: text for path, text in files.items() if not set(PurePosixPath(path).parts[:-1]) & set(_MADE_TWICE)}


def _revision(name: str, out: Path) -> dict[str, str]:
    revision, colon, inside = name.partition(":")
    tree = f"{revision}:{inside if colon else f'./{out.as_posix()}'}"
    if revision.startswith("-") or _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}") is None:
        raise BalanceError("is no file, no directory and no git revision here", where=name, cure=_TAKES)
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


def _totals(summary: Mapping[str, object]) -> str:
    return f"{summary['verdict']}: " + ", ".join(f"{summary[level]} {level}" for level in LEVELS)


def _text(changes: list[Change], summary: Mapping[str, object], options: Namespace) -> str:
    return "".join(f"{change}{'' if change.level == 'harmless' else f': {change.level}'}\n" for change in changes)


def _json(changes: list[Change], summary: Mapping[str, object], options: Namespace) -> str:
    where = f"{options.old} to {options.new or 'the sources'}"
    findings = (
        Finding(
            f"{change.kind.replace(' ', '-')}-{change.fact.replace('_', '-')}", _SEVERITY[change.level], where,
            f"{change.kind} {change.name}", change.words, _CURE[change.level],
        )
        for change in changes
    )  # fmt: skip
    return report(findings, summary)


def _markdown(changes: list[Change], summary: Mapping[str, object], options: Namespace) -> str:
    """For a pull request: a table for each level, what is harmless folded away."""
    lines = [f"### Monitoring: {_totals(summary)}" if changes else "### Monitoring: nothing has changed", ""]
    for level in LEVELS:
        mine = [change for change in changes if change.level == level]
        if not mine:
            continue
        table = [
            "| what | change |",
            "| --- | --- |",
            *(f"| {change.kind} {_cell(change.name, code=True)} | {_cell(change.words)} |" for change in mine),
        ]
        folded = level == "harmless"
        lines += ["<details><summary>harmless</summary>", "", *table, "", "</details>", ""] if folded else [f"**{level}**", "", *table, ""]
    return "\n".join(lines[:-1]) + "\n"


def _cell(text: str, *, code: bool = False) -> str:
    text = text.replace("|", "\\|").replace("\n", " ")
    return f"`{text}`" if code else text.replace("<", "&lt;").replace("`", "\\`")


_FORMATS: dict[str, Callable[[list[Change], Mapping[str, object], Namespace], str]] = {"text": _text, "markdown": _markdown, "json": _json}
