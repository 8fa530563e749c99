"""The reference pages, made from the code: command lines, `balance.api`, settings, the balancer's configuration, metrics, alerts, lint checks."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterable, Iterator, Mapping

from balance.commands import cli as balance_gen
from balance.config.schema import Field, Section
from balance.generate import build, collect
from balance.lb import cli as balance
from balance.lb.config.schema import CONFIG
from balance.lint.run import CHECKS
from balance.monitoring.settings import Settings
from tools.docs import api


def pages() -> dict[str, str]:
    """The reference pages: Markdown by path below `reference/`. Settings, metrics and runbooks are those of `balance-gen write` with defaults."""
    bundle, settings = collect.collect(Settings())
    made = [*build.settings_page(bundle, settings), *build.runbooks(bundle, settings)]
    return {
        "balance-gen.md": command_line(balance_gen.command_line()),
        "balance.md": command_line(balance.command_line()),
        "api.md": api.page(),
        "configuration.md": configuration(),
        "checks.md": checks(),
        **{artifact.path: artifact.text for artifact in made},
    }


def command_line(parser: argparse.ArgumentParser) -> str:
    """The page of a command line: every command with its arguments and options; options of all commands stand once, at the end."""
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    words = {choice.dest: choice.help or "" for choice in commands._choices_actions}
    parts: Mapping[str, argparse.ArgumentParser] = commands.choices
    rows = {name: {_usage(action): _help(action) for action in part._actions if action.help != argparse.SUPPRESS} for name, part in parts.items()}
    everywhere = [row for row in next(iter(rows.values())) if all(row in others for others in rows.values())]
    lines = [f"# {parser.prog}", "", parser.description or "", "", *_block(parser.epilog)]
    for name in parts:
        own = [(f"`{usage}`", meaning) for usage, meaning in rows[name].items() if usage not in everywhere]
        lines += [f"## `{parser.prog} {name}`", "", _sentence(words[name]), "", *(_table(("argument", "meaning"), own) if own else ()), ""]
        lines += _block(textwrap.dedent("\n".join(line for line in (parts[name].epilog or "").splitlines() if line.startswith(" "))))
    shared = [(f"`{usage}`", rows[name][usage]) for usage in everywhere]
    own = [(f"`{_usage(action)}`", _help(action)) for action in parser._actions if action.option_strings and action.dest != "help"]
    lines += ["## Options of every command", "", *_table(("option", "meaning"), shared), ""]
    lines += [f"## `{parser.prog}` itself", "", *_table(("option", "meaning"), own)]
    return "\n".join(lines) + "\n"


def _usage(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else str(action.metavar or (_choices(action) if action.choices else action.dest.upper()))
    value = {"?": f"[{value}]", "*": f"[{value} ...]", "+": f"{value} ..."}.get(str(action.nargs), value)
    return " ".join(filter(None, (", ".join(action.option_strings), value)))


def _choices(action: argparse.Action) -> str:
    return "{" + ",".join(map(str, action.choices or ())) + "}"


def _help(action: argparse.Action) -> str:
    words = (action.help or "").replace("%(default)s", str(action.default))
    default = action.default if isinstance(action.default, str) and action.default != argparse.SUPPRESS and "default" not in words else ""
    return "; ".join(filter(None, (words, default and f"default: {default}")))


def configuration() -> str:
    """The page of the balancer's configuration: every key, section by section."""
    lines = [
        "# Configuration of the balancer", "",
        "The file of `balance serve -c FILE`, in YAML; `balance schema` prints the same as JSON Schema for editors. A key without",
        "default may be left out unless it is *needed*. What the parts mean for messages: [the load balancer](../load-balancer.md).", "",
    ]  # fmt: skip
    for path, section in sections(CONFIG):
        rows = ((f"`{field.key}`", _default(field), _kind(f"{path}.{field.key}".lstrip("."), field), field.doc) for field in section.fields)
        lines += [*((f"## `{path}` {{ #{path} }}", "") if path else ()), *_table(("key", "default", "value", "meaning"), rows), ""]
    return "\n".join(lines)


def sections(section: Section, path: str = "") -> Iterator[tuple[str, Section]]:
    """The section and its subsections, each with its key path; sections that pools inherit are listed once."""
    yield path, section
    for field in section.fields:
        if isinstance(field.kind, Section) and not field.inherited:
            yield from sections(field.kind, f"{path}.{field.key}".lstrip("."))


def _default(field: Field) -> str:
    return "*needed*" if field.default is None else f"`{field.default}`" if field.default else ""


def _kind(path: str, field: Field) -> str:
    kind = field.kind
    if isinstance(kind, Section):
        where = field.key if field.inherited else path
        words = f"[keys](#{where})" + ", or `off`" * kind.may_be_off
    else:
        words = kind.words
    return f"list of: {words}" if field.many else f"{words}; or a list" if field.several else words


def checks() -> str:
    """The page of lint checks: every check with the text of `balance-gen explain`."""
    lines = ["# Checks of lint", "", "What `balance-gen lint` looks for; `balance-gen explain CHECK` prints the same. How to waive one:"]
    lines += ["[runbooks, lint, backtest](../runbooks.md#lint).", ""]
    for check in CHECKS.values():
        when = ", asked for by `--reviews`" if check.daily else ""
        lines += [f"## `{check.id}`", "", f"*{check.severity}{when}*", "", check.explanation, ""]
    return "\n".join(lines)


def _block(text: str | None) -> list[str]:
    return ["```text", text.strip(), "```", ""] if text else []


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}{'' if words.endswith('.') else '.'}"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    lines = [list(heads), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]
