"""Conversion of the input arrays of a NumPy archive."""

from __future__ import annotations

import numpy as np

from fedlab.data.resize import conform
from fedlab.data.source import LoadContext
from fedlab.data.stored_numbers import as_floats, stored
from fedlab.errors import InputError


def inputs_of(inputs: np.ndarray, where: str, context: LoadContext, series: bool) -> np.ndarray:
    """Numbers as int64 or floats, ids, or images converted to the scenario's shape.

    Args:
        inputs: The array as it was saved.
        where: What it is called in errors.
        context: Gives what inputs are, and the shape of images.
        series: Whether they are series, numbers of shape (n, channels, length).

    Raises:
        InputError: If it is of no kind that the `npz` source describes.
    """
    if context.inputs == "ids":
        return inputs  # brought to one length with those of all domains
    are_numbers = inputs.dtype.kind in "biuf"
    if inputs.dtype.kind == "f" and not np.isfinite(inputs).all():
        sample = int(np.argwhere(~np.isfinite(inputs))[0, 0])
        raise InputError(
            f"{where} has a number that is not finite in sample {sample}; correct it, or leave the "
            "sample out"
        )
    if series and not (are_numbers and inputs.ndim == 3):
        raise InputError(
            f"{where} has the shape {inputs.shape} and type {inputs.dtype}, and the source's "
            "series: true reads numbers of shape (n, channels, length); leave it out"
        )
    if series or (context.inputs == "numbers" and inputs.ndim > 2 and are_numbers):
        return as_floats(inputs)
    if inputs.ndim == 2 and inputs.dtype.kind in "iu":
        if inputs.dtype == np.uint64 and inputs.max(initial=0) > np.iinfo(np.int64).max:
            raise InputError(f"{where} has numbers beyond those of int64; save them as float64")
        return inputs.astype(np.int64)
    if inputs.ndim == 2 and are_numbers:
        return as_floats(inputs)
    if inputs.dtype == np.uint8 and inputs.ndim == 3:
        inputs = inputs[:, None]
    elif inputs.dtype == np.uint8 and inputs.ndim == 4 and inputs.shape[3] in (1, 3):
        inputs = inputs.transpose(0, 3, 1, 2)
    if inputs.dtype == np.uint8 and inputs.ndim == 4 and inputs.shape[1] in (1, 3):
        shape = (len(inputs), context.channels, context.image_size, context.image_size)
        context.limits.check_array(shape, 1, where)
        if inputs.max(initial=0) == 1:
            raise InputError(
                f"{where} has the bytes 0 and 1 alone, and those of images go to 255; multiply "
                "them by 255"
            )
        return conform(inputs, context.channels, context.image_size)
    raise InputError(
        f"{where} has the shape {inputs.shape} and type {inputs.dtype}; images must be uint8 "
        "in 0 to 255 with 1 or 3 channels, features numbers of shape (n, features); floats of "
        "shape (n, channels, length) are read with the source's series: true, and numbers of "
        "any shape, channels first, with data.inputs=numbers"
    )


def in_one_type(inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Numbers of all files in one common type; images unchanged."""
    kinds = {each.dtype.name for each in inputs}
    alike = len({each.shape[1:] for each in inputs}) == 1
    if (
        alike
        and "object" not in kinds
        and "uint8" not in kinds
        and ("float64" in kinds or len(kinds) > 1)
    ):
        return stored([each.astype(np.float64) for each in inputs])
    return inputs
