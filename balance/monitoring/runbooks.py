"""Runbooks: hand-written Markdown for the person on call. Facts about the rule are added when a runbook is rendered.

The runbook of an alert is a Markdown file named after it, in the folder `runbooks` of a package. It begins with its owner and the date of
its last review, and may contain queries, which are checked against the catalog and get the job's selector:

    ---
    owner: the team that answers for it
    reviewed: 2026-11-22
    ---
    ## Meaning
    ...
    ```promql
    sum by (status) (rate(shop_orders_total[5m]))
    ```
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from balance.catalog.registry import Catalog
from balance.errors import BalanceError, MonitoringError, Problem, SourceError, choices, suggestion
from balance.promql.read import checked

SECTIONS = ("Meaning", "Impact", "Diagnosis", "Remedy")
"""Sections that every runbook must have; others may follow."""
FOLDER = "runbooks"

_FRONT = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)
_FENCE = re.compile(r"^```promql\n(.*?)\n```$", re.DOTALL | re.MULTILINE)
_BLOCK = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(rf"{_BLOCK.pattern}|^## +(?P<title>[^\n]+)$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")
_KEYS = ("owner", "reviewed")


@dataclass(frozen=True)
class Runbook:
    """The runbook of one alert. `where` is its file, `sections` maps headings to Markdown; `owner` and `reviewed` may be empty."""

    alert: str
    where: str
    sections: Mapping[str, str]
    owner: str = ""
    reviewed: str = ""

    def checked(
        self, catalog: Catalog, alerts: Collection[str], recorded: Collection[str] = (), selector: str = "", mentioned: Collection[str] = ()
    ) -> Mapping[str, str]:
        """Check the queries and names in the sections. Returns the sections with `selector` in every query and links to other `alerts`.

        `recorded`: names of recording rules, which queries may select. `mentioned`: further alerts that may be named, without a link. Raises
        `MonitoringError` with every series, label, value and alert that does not exist.
        """
        problems: list[Problem] = []

        def query(fence: re.Match[str]) -> str:
            try:
                return f"```promql\n{checked(fence[1], catalog, selector, recorded)}\n```"
            except BalanceError as error:
                problems.extend(Problem(self.where, f"query: {problem.what}", problem.cure) for problem in error.problems)
                return fence[0]

        def name(code: re.Match[str]) -> str:
            word = code[1]
            if re.fullmatch(rf"{catalog.name}_\w+", word, re.ASCII):
                try:
                    catalog.metric(word)
                except BalanceError as error:
                    problems.extend(Problem(self.where, problem.what, problem.cure) for problem in error.problems)
            elif re.fullmatch(rf"{catalog.name.capitalize()}[A-Z]\w+", word, re.ASCII):
                if word in alerts and word != self.alert:
                    return f"[`{word}`]({word}.md)"
                if word not in alerts and word not in mentioned:
                    problems.append(Problem(self.where, f"no alert {word!r}", suggestion(word, alerts)))
            return code[0]

        made = {title: _outside(_BLOCK, _FENCE.sub(query, text), lambda words: _CODE.sub(name, words)) for title, text in self.sections.items()}
        if problems:
            raise MonitoringError(problems=problems)
        return made

    @property
    def mentioned(self) -> frozenset[str]:
        """All inline code in the sections, which includes the names of alerts."""
        return frozenset(word for text in self.sections.values() for word in _CODE.findall(text))


def _outside(blocks: re.Pattern[str], text: str, change: Callable[[str], str]) -> str:
    """Apply `change` to the text outside the blocks."""
    made, end = "", 0
    for block in blocks.finditer(text):
        made += change(text[end : block.start()]) + block[0]
        end = block.end()
    return made + change(text[end:])


def parse(alert: str, where: str, text: str) -> Runbook:
    """Parse a runbook; `where` is its name in messages. Raises `MonitoringError` for front matter with other keys than owner and reviewed."""
    front = _FRONT.match(text)
    said = {}
    for line in front[1].splitlines() if front else ():
        key, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or key not in _KEYS:
            raise MonitoringError(f"invalid front matter {line.strip()!r}", where=where, cure=f"keys: {choices(_KEYS)}")
        said[key] = value
    headings = [match for match in _HEADING.finditer(text) if match["title"]]
    ends = [*(heading.start() for heading in headings[1:]), len(text)]
    sections = {heading["title"].strip(): text[heading.end() : end].strip() for heading, end in zip(headings, ends, strict=False)}
    return Runbook(alert, where, sections, **said)


def read(packages: Iterable[str]) -> tuple[Runbook, ...]:
    """Read the runbooks of the packages, sorted by alert. Raises `SourceError` if a package cannot be imported or has no folder of runbooks."""
    from importlib.resources import files

    found = []
    for package in packages:
        try:
            folder = files(package).joinpath(FOLDER)
        except ModuleNotFoundError as error:
            raise SourceError(f"cannot be imported: {error}", where=f"package {package}", cure="fix the name in runbooks= of the Bundle") from None
        if not folder.is_dir():
            raise SourceError(f"has no folder {FOLDER!r}", where=f"package {package}", cure="create it, with one Markdown file for each alert")
        for file in folder.iterdir():
            alert, _, suffix = file.name.rpartition(".")
            if suffix == "md":
                found.append(parse(alert, f"{package}/{FOLDER}/{file.name}", file.read_text(encoding="utf-8")))
    return tuple(sorted(found, key=lambda runbook: runbook.alert))
