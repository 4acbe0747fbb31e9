"""The error of a picture."""

from __future__ import annotations


class PictureError(ValueError):
    """A picture that cannot be read correctly: the problem, and the remedy."""
