"""Windows of a text: a number of tokens, and the one that follows them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def windows(ids: Sequence[int], length: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """All windows of a text and the token after each.

    Args:
        ids: The tokens of the text.
        length: Tokens of a window.
        stride: Tokens from the beginning of a window to that of the next.

    Returns:
        int64 of shape (n, length) and (n,); n is 0 for a text of no more than `length` tokens.
    """
    tokens = np.asarray(ids, np.int64)
    if len(tokens) <= length:
        return np.zeros((0, length), np.int64), np.zeros(0, np.int64)
    found = sliding_window_view(tokens, length + 1)[::stride]
    return found[:, :-1].copy(), found[:, -1].copy()


def cut_in_time(text: str, test_share: float) -> tuple[str, str]:
    """The beginning of a text, to learn from, and its end, to be tested on."""
    cut = len(text) - round(test_share * len(text))
    return text[:cut], text[cut:]
