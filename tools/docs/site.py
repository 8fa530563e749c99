"""What mkdocs asks while it builds the site: the reference pages are made from the code, and links out of `docs/` led to where they go in it."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tools.docs import reference

REFERENCE = "reference"
_LINK = re.compile(r"(?<!!)\[(?P<words>[^][]+)\]\((?P<target>[^)\s]+)\)")
_CELL = re.compile(r"<td[^>]*>.*?</td>", re.DOTALL)
_LOST_LIST = re.compile(r"<p>[^<]*(?:<(?!/p>)[^<]*)*\n(?:- |\d\. )")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The pages of the reference are listed where the navigation names it."""
    made = reference.pages()
    runbooks = [path for path in made if path.startswith("runbooks/")]
    runbooks.sort(key=lambda path: (path != "runbooks/README.md", path))
    listed: list[Any] = [f"{REFERENCE}/{path}" for path in made if path not in runbooks]
    listed.append({"Alerts": [f"{REFERENCE}/{path}" for path in runbooks]})
    config.nav = [{"Reference": listed} if entry == "Reference" else entry for entry in config.nav or ()]
    config.extra[REFERENCE] = made
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds the reference."""
    for path, text in config.extra[REFERENCE].items():
        files.append(File.generated(config, f"{REFERENCE}/{path}", content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to `generated/` lead to the reference; of those to other files of the repository the words remain."""
    folder = posixpath.dirname(f"docs/{page.file.src_uri}")

    def led(link: re.Match[str]) -> str:
        target, mark, anchor = link["target"].partition("#")
        whole = posixpath.normpath(posixpath.join(folder, target))
        if not target or ":" in target or whole.startswith("docs/"):
            return link[0]
        if whole.startswith("generated/"):
            there = posixpath.join("docs", REFERENCE, whole.removeprefix("generated/"))
            return f"[{link['words']}]({posixpath.relpath(there, folder)}{mark}{anchor})"
        return link["words"]

    return _LINK.sub(led, markdown)


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Shows `\\|` in cells of tables as `|`, as everybody else does. Refuses a list that follows its paragraph without an empty line: it
    would be shown as part of it."""
    if lost := _LOST_LIST.search(html):
        raise PluginError(f"{page.file.src_uri}: a list without an empty line before it: {lost[0][-80:]!r}")
    return _CELL.sub(lambda cell: cell[0].replace("\\|", "|"), html)
