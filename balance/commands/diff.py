"""`balance-gen diff`: describe what changed between two states of the generated files, as text, Markdown or JSON."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path

from balance.commandline import EXIT_FINDINGS, EXIT_OK, Command, Parser, add_format
from balance.errors import BalanceError, FindingSeverity, Problem
from balance.finding import report
from balance.generate.changes import LEVELS, Level, SemanticChange, compare, verdict
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

_SEVERITY: dict[Level, FindingSeverity] = {"breaking": "error", "notable": "warning", "harmless": "info"}
_CURE: dict[Level, str] = {
    "breaking": "keep it, or deprecate it first: renamed_from, deprecated_since, remove_after",
    "notable": "tell the people who use it or are notified by it",
    "harmless": "nothing to do",
}


def arguments(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("old", metavar="A", help="a generated directory, a file, or a git revision: v1.2 or v1.2:PATH")
    parser.add_argument("new", metavar="B", nargs="?", help="the same; default: what the sources make now")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default="generated", help="directory of the generated files in a revision; default: generated"
    )
    parser.add_argument("--fail-on", choices=("breaking", "notable", "harmless"), help="exit 1 if there is a change of this level or a worse one")
    add_format(parser, "markdown")


def run(options: Namespace, bundle: Bundle, settings: Settings) -> int:
    """Print what changed between the two states; exit code 1 if a change is as bad as `--fail-on` says."""
    from balance.generate import states
    from balance.generate.semantic import extract

    old = extract(states.load(options.old, options.out))
    new = extract(states.load(options.new, options.out) if options.new else states.from_sources(bundle, settings))
    if not old.kinds & new.kinds:
        raise BalanceError("nothing in common to compare", where=f"{options.old}, {options.new or 'the sources'}", cure=states.ACCEPTED)
    changes = compare(old, new)
    summary: dict[str, object] = {"verdict": verdict(changes)}
    summary |= {level: sum(change.level == level for change in changes) for level in LEVELS}
    sys.stdout.write(_FORMATS[options.format](changes, summary, options))
    if options.format == "text":
        print(_totals(summary), file=sys.stderr)
    worst = LEVELS.index(options.fail_on) if options.fail_on else -1
    return EXIT_FINDINGS if any(LEVELS.index(change.level) <= worst for change in changes) else EXIT_OK


def _totals(summary: Mapping[str, object]) -> str:
    return f"{summary['verdict']}: " + ", ".join(f"{summary[level]} {level}" for level in LEVELS)


def _text(changes: list[SemanticChange], summary: Mapping[str, object], options: Namespace) -> str:
    return "".join(f"{change}{'' if change.level == 'harmless' else f': {change.level}'}\n" for change in changes)


def _json(changes: list[SemanticChange], summary: Mapping[str, object], options: Namespace) -> str:
    where = f"{options.old} to {options.new or 'the sources'}"
    findings = (
        Problem(
            where, change.description, _CURE[change.level], f"{change.kind} {change.name}",
            f"{change.kind.replace(' ', '-')}-{change.fact.replace('_', '-')}", _SEVERITY[change.level],
        )
        for change in changes
    )  # fmt: skip
    return report(findings, summary)


def _markdown(changes: list[SemanticChange], summary: Mapping[str, object], options: Namespace) -> str:
    """For a pull request: a table for each level, with harmless changes folded."""
    lines = [f"### Monitoring: {_totals(summary)}" if changes else "### Monitoring: nothing has changed", ""]
    for level in LEVELS:
        mine = [change for change in changes if change.level == level]
        if not mine:
            continue
        table = [
            "| what | change |",
            "| --- | --- |",
            *(f"| {change.kind} {_cell(change.name, code=True)} | {_cell(change.description)} |" for change in mine),
        ]
        folded = level == "harmless"
        lines += ["<details><summary>harmless</summary>", "", *table, "", "</details>", ""] if folded else [f"**{level}**", "", *table, ""]
    return "\n".join(lines[:-1]) + "\n"


def _cell(text: str, *, code: bool = False) -> str:
    text = text.replace("|", "\\|").replace("\n", " ")
    return f"`{text}`" if code else text.replace("<", "&lt;").replace("`", "\\`")


_FORMATS: dict[str, Callable[[list[SemanticChange], Mapping[str, object], Namespace], str]] = {"text": _text, "markdown": _markdown, "json": _json}

COMMAND = Command(
    "diff",
    "describe what changed between two states, and whether it breaks anything",
    run,
    arguments,
    "balance-gen diff HEAD\nbalance-gen diff v1.2 v1.3 --format markdown\nbalance-gen diff old/ new/ --fail-on breaking",
    foreign=("new",),
)
