"""Runbooks: what people wrote for whoever is woken. The facts come from the rule itself and are added when a runbook is rendered.

The prose for an alert is a Markdown file named after it, in the folder `runbooks` of a package. It begins with its owner and the day of
its last review, and may hold queries, which are checked against the catalog and get the job's selector:

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
"""What every runbook has to say; further sections may follow."""
FOLDER = "runbooks"

_FRONT = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)
_FENCE = re.compile(r"^```promql\n(.*?)\n```$", re.DOTALL | re.MULTILINE)
_BLOCK = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(rf"{_BLOCK.pattern}|^## +(?P<title>[^\n]+)$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")
_KEYS = ("owner", "reviewed")


@dataclass(frozen=True)
class Runbook:
    """The prose for one alert. `where` is its file, `sections` are headings with their Markdown; what is missing is empty."""

    alert: str
    where: str
    sections: Mapping[str, str]
    owner: str = ""
    reviewed: str = ""

    def checked(
        self, catalog: Catalog, alerts: Collection[str], recorded: Collection[str] = (), selector: str = "", mentioned: Collection[str] = ()
    ) -> Mapping[str, str]:
        """The sections, every query in them checked and narrowed by `selector`, every name of an alert a link; those `mentioned` may be named too.

        Raises `MonitoringError` with every series, label, value and alert that does not exist.
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
        """Everything that stands in the prose as code: names of alerts are among it."""
        return frozenset(word for text in self.sections.values() for word in _CODE.findall(text))


def _outside(blocks: re.Pattern[str], text: str, change: Callable[[str], str]) -> str:
    """The text with what is not in one of the blocks changed."""
    made, end = "", 0
    for block in blocks.finditer(text):
        made += change(text[end : block.start()]) + block[0]
        end = block.end()
    return made + change(text[end:])


def parse(alert: str, where: str, text: str) -> Runbook:
    """A runbook from its file. Raises `MonitoringError` for front matter that says anything but owner and review."""
    front = _FRONT.match(text)
    said = {}
    for line in front[1].splitlines() if front else ():
        key, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or key not in _KEYS:
            raise MonitoringError(f"says {line.strip()!r} before its text", where=where, cure=f"keys: {choices(_KEYS)}")
        said[key] = value
    headings = [match for match in _HEADING.finditer(text) if match["title"]]
    ends = [*(heading.start() for heading in headings[1:]), len(text)]
    sections = {heading["title"].strip(): text[heading.end() : end].strip() for heading, end in zip(headings, ends, strict=False)}
    return Runbook(alert, where, sections, **said)


def read(packages: Iterable[str]) -> tuple[Runbook, ...]:
    """All runbooks of the packages, by name. Raises `SourceError` if a package has none."""
    from importlib.resources import files  # costs two interpreter starts: only for those who read prose

    found = []
    for package in packages:
        folder = files(package).joinpath(FOLDER)
        if not folder.is_dir():
            raise SourceError(f"has no folder {FOLDER!r}", where=f"package {package}", cure="put one Markdown file for each alert there")
        for file in folder.iterdir():
            alert, _, suffix = file.name.rpartition(".")
            if suffix == "md":
                found.append(parse(alert, f"{package}/{FOLDER}/{file.name}", file.read_text(encoding="utf-8")))
    return tuple(sorted(found, key=lambda runbook: runbook.alert))
