"""Files of the repository that are pages of the site, too, and the links to them."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TARGET = re.compile(r"(\]\()([^)\s#:]+)([)#\s])")
"""The target of a Markdown link within the repository."""

REFERENCE = {
    "fedlab/scenario.py": "reference/scenario.md",
    "fedlab/data/limits.py": "reference/scenario.md",
    "fedlab/privacy/spec.py": "reference/scenario.md#privacy",
    "fedlab/partition/spec.py": "reference/skews.md",
    "fedlab/data/image_folder.py": "reference/data.md#image_folder",
    "fedlab/data/npz.py": "reference/data.md#npz",
    "fedlab/data/csv_table.py": "reference/data.md#csv",
    "fedlab/data/torchvision_source.py": "reference/data.md#torchvision",
}
"""Code -> the page that is made of it: a checkout has the one, the site the other."""

RESULTS = "benchmarks/results"


def pages() -> dict[str, str]:
    """Repository path -> page, for files outside of docs/."""
    found = {
        "CONTRIBUTING.md": "contributing.md",
        "CHANGELOG.md": "changelog.md",
        "SECURITY.md": "security.md",
    }
    found |= {
        path.relative_to(ROOT).as_posix(): f"benchmarks/{path.name}"
        for path in sorted((ROOT / RESULTS).glob("*.md"))
    }
    found |= {
        f"notebooks/{path.name}": f"notebooks/{path.stem}.md"
        for path in sorted((ROOT / "notebooks").glob("*.py"))
    }
    return {**found, RESULTS: "benchmarks/index.md"}


def texts() -> dict[str, str]:
    """Page -> Markdown of the files that are Markdown already."""
    own = {page: path for path, page in pages().items() if path.endswith(".md")}
    found = {page: (ROOT / path).read_text("utf-8") for page, path in own.items()}
    benchmarks = [page for page in own if page.startswith("benchmarks/")]
    listed = "".join(f"- [{Path(page).stem}]({Path(page).name})\n" for page in benchmarks)
    index = f"# Figures in full\n\nWhat the benchmarks wrote, one page a machine.\n\n{listed}"
    return {"benchmarks/index.md": index, **found}


def source_of(page: str) -> str:
    """The repository path of a page."""
    other = {target: path for path, target in pages().items()}
    return other.get(page, f"docs/{page}")


def with_links_of_the_site(markdown: str, page: str) -> str:
    """The text of a page with links that lead to pages, where they led to files.

    Args:
        markdown: The text, whose links are relative to its file in the repository.
        page: The page that it becomes.
    """
    known, home = pages() | REFERENCE, posixpath.dirname(source_of(page))

    def replaced(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(home, link[2]))
        target = known.get(path) or path.removeprefix("docs/")
        if path not in known and (not path.startswith("docs/") or home.startswith("docs")):
            return link[0]
        return link[1] + posixpath.relpath(target, posixpath.dirname(page) or ".") + link[3]

    return TARGET.sub(replaced, markdown)
