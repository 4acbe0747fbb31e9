"""What mkdocs calls while it builds: adds the pages that are made, and completes those of methods.

Named in mkdocs.yml under ``hooks``. Nothing is written into docs/.
"""

from __future__ import annotations

import logging
import re
from pathlib import PurePosixPath
from typing import Any

import command_line
import method_pages
import method_table
import notebook_pages
import reference_pages
import repository
from formulas import Formulas
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

log = logging.getLogger("mkdocs.hooks.fedlab")

FROM_ELSEWHERE = re.compile(
    r"<(?:script|img|iframe|link|source)\b[^>]*(?:src|href)=\"(?:https?:)?//"
)
"""Anything that a browser would fetch from another server as soon as it shows a page."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds formulas, and to the navigation what is found in folders."""
    config.markdown_extensions.append(Formulas())  # type: ignore[arg-type]
    decisions = sorted((repository.ROOT / "docs" / "decisions").glob("*.md"))
    found = {
        "METHODS": method_pages.navigation(),
        "NOTEBOOKS": [f"notebooks/{path.stem}.md" for path in notebook_pages.sources()],
        "PARTS": [f"reference/{page}.md" for page in reference_pages.PARTS],
        "BENCHMARKS": [page for page in repository.texts() if page.startswith("benchmarks/")],
        "DECISIONS": [f"decisions/{path.name}" for path in decisions],
        "OTHERS": _others(str(config.nav)),
    }
    config.nav = _filled(config.nav, found)
    for name in method_pages.missing():
        log.warning("the method '%s' has no page; write docs/methods/%s.md", name, name)
    return config


def _others(nav: str) -> list[str]:
    """Pages of docs/ itself that the navigation does not name."""
    pages = sorted(path.name for path in (repository.ROOT / "docs").glob("*.md"))
    return [page for page in pages if f"'{page}'" not in nav]


def _filled(nav: Any, found: dict[str, list]) -> Any:
    """A part of the navigation with what was found in the place of its names."""
    if isinstance(nav, dict):
        return {title: _filled(below, found) for title, below in nav.items()}
    if isinstance(nav, list):
        items = [found.get(item, [item]) if isinstance(item, str) else [item] for item in nav]
        return [_filled(item, found) for group in items for item in group]
    return nav


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made of code, of notebooks, and of files elsewhere."""
    made: dict[str, str | bytes] = {
        "reference/command-line.md": command_line.page(),
        **reference_pages.pages(),
        **repository.texts(),
    }
    for path in notebook_pages.sources():
        text, pictures = notebook_pages.page(path)
        made[f"notebooks/{path.stem}.md"] = text
        made |= {f"notebooks/{name}": content for name, content in pictures.items()}
    for page, content in made.items():
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Completes a method's page and the list of methods; makes links lead to pages."""
    place = PurePosixPath(page.file.src_uri)
    text = repository.with_links_of_the_site(markdown, str(place))
    if place.parent.name != "methods":
        return method_pages.with_results(text)
    if place.stem == "index":
        text = text.replace("<!-- methods -->", method_pages.index())
        text = text.replace("<!-- overview -->", method_table.overview())
        return text.replace("<!-- keys -->", method_pages.common_keys())
    return method_pages.completed(place.stem, text)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuses pages that ask other servers for something."""
    if found := FROM_ELSEWHERE.search(output):
        log.warning("%s loads something from elsewhere: %s", page.file.src_uri, found[0])
    return output
