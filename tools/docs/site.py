"""Hooks of mkdocs: add the reference pages made from the code, and rewrite links that lead out of `docs/`."""

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
    """List the reference pages in the navigation."""
    made = reference.pages()
    runbooks = [path for path in made if path.startswith("runbooks/")]
    runbooks.sort(key=lambda path: (path != "runbooks/README.md", path))
    listed: list[Any] = [f"{REFERENCE}/{path}" for path in made if path not in runbooks]
    listed.append({"Alerts": [f"{REFERENCE}/{path}" for path in runbooks]})
    config.nav = [{"Reference": listed} if entry == "Reference" else entry for entry in config.nav or ()]
    config.extra[REFERENCE] = made
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the reference pages."""
    for path, text in config.extra[REFERENCE].items():
        files.append(File.generated(config, f"{REFERENCE}/{path}", content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to `generated/` at the reference; replace links to other files of the repository by their text."""
    folder = posixpath.dirname(f"docs/{page.file.src_uri}")

    def rewritten(link: re.Match[str]) -> str:
        target, mark, anchor = link["target"].partition("#")
        whole = posixpath.normpath(posixpath.join(folder, target))
        if not target or ":" in target or whole.startswith("docs/"):
            return link[0]
        if whole.startswith("generated/"):
            there = posixpath.join("docs", REFERENCE, whole.removeprefix("generated/"))
            return f"[{link['words']}]({posixpath.relpath(there, folder)}{mark}{anchor})"
        return link["words"]

    return _LINK.sub(rewritten, markdown)


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show `\\|` in table cells as `|`, as GitHub does. Raises `PluginError` for a list without an empty line before it, which mkdocs would
    render as part of the paragraph."""
    if lost := _LOST_LIST.search(html):
        raise PluginError(f"{page.file.src_uri}: a list without an empty line before it: {lost[0][-80:]!r}")
    return _CELL.sub(lambda cell: cell[0].replace("\\|", "|"), html)
