"""Writes the pages of results (docs/results.md and others) anew from benchmarks/results.

python -m benchmarks.pages            # writes them
python -m benchmarks.pages --check    # says which are not up to date
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "docs" / "generator"))

import results_page


def main() -> int:
    """The command line; 1 where a page is not up to date."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    return results_page.main(parser.parse_args().check)


if __name__ == "__main__":
    sys.exit(main())
