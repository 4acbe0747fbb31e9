"""What is wrong with a picture."""

from __future__ import annotations


class PictureError(ValueError):
    """A picture that cannot be read right: what is wrong with it, and the remedy."""
