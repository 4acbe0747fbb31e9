"""Versions of installed packages, fedlab among them, from their metadata."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

__version__ = version("fedlab-sim")


@cache
def version_of(package: str) -> str | None:
    """The installed version of a package; None if there is none.

    Kept, because the description of a package is parsed for it, and every run asks for a dozen.
    """
    try:
        return version(package)
    except PackageNotFoundError:
        return None
