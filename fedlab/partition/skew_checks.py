"""Checks of what a skew returns, a user's own included, before samples are dealt out by it."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from fedlab.errors import InputError


def check_weights(given: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Relative sizes or shares as float64.

    Args:
        given: What `QuantitySkew.weights` or `DomainSkew.shares` has returned.
        shape: What shape it must have.
        where: The skew's key, name and method, for the error.

    Raises:
        InputError: If they are of another shape, or a number is negative or not finite.
    """
    weights = _array(given, where, "floats")
    if weights.shape != shape or weights.dtype.kind not in "biuf":
        raise InputError(
            f"{where} has returned an array of shape {weights.shape} and type {weights.dtype}; it "
            f"has to be of shape {shape}, with numbers"
        )
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise InputError(f"{where} has returned numbers that are negative or not finite")
    return weights.astype(np.float64, copy=False)


def check_owners(given: Any, samples: int, clients: int, where: str) -> np.ndarray:
    """The owner of every sample.

    Args:
        given: What `LabelSkew.divide` has returned.
        samples: How many samples there are.
        clients: How many clients.
        where: The skew's key, name and method, for the error.

    Raises:
        InputError: If it is not an integer for each sample, from -1 (no client) to the last client.
    """
    owners = _array(given, where, "integers")
    if owners.shape != (samples,) or owners.dtype.kind not in "iu":
        raise InputError(
            f"{where} has returned an array of shape {owners.shape} and type {owners.dtype}; it "
            f"has to be an integer for each of {samples} samples, its owner"
        )
    if samples and (owners.min() < -1 or owners.max() >= clients):
        raise InputError(
            f"{where} has returned owners from {owners.min()} to {owners.max()}; clients go from 0 "
            f"to {clients - 1}, and -1 is no client"
        )
    return owners


def _array(given: Any, where: str, of: str) -> np.ndarray:
    if not isinstance(given, np.ndarray):
        raise InputError(
            f"{where} has returned a {type(given).__name__}; it has to be a numpy array of {of}"
        )
    return cast(np.ndarray, given)
