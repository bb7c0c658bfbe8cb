"""Arrays on their way into the native library and out of it."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _native
from .exceptions import DataError

Shaped = tuple[list[int], bytearray]


def as_array(values: Any, what: str) -> NDArray[Any]:
    """Return an array, or a torch tensor, as a contiguous NumPy array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what}: not an array: {str(error).splitlines()[0]}") from None
    if array.dtype.kind not in "buif":
        raise DataError(f"{what}: arrays of {array.dtype} are not supported; use numbers or booleans")
    if array.dtype == np.float16 or array.dtype.itemsize > 8:
        array = array.astype(np.float32)
    elif array.dtype.kind == "u" and array.dtype.itemsize in (2, 8) or array.dtype == np.int8:
        array = array.astype(np.int64)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return np.ascontiguousarray(array)


def npy(values: Any, what: str) -> bytes:
    """Return an array as the bytes of a ``.npy`` file."""
    array = as_array(values, what)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    # The only copy of the values on this side.
    return b"".join((header.getvalue(), array.data))


def floats(shaped: Shaped) -> NDArray[np.float32]:
    """Return the values that the native library made, without a copy."""
    shape, values = shaped
    return np.frombuffer(values, dtype=np.float32).reshape(shape)


def words(labels: Any, count: int | None) -> list[str] | None:
    """Return labels as words: names or numbers. One label stands for ``count`` of them."""
    if labels is None:
        return None
    if isinstance(labels, (str, int, np.integer)):
        labels = [labels] * (1 if count is None else count)
    if hasattr(labels, "detach"):
        labels = labels.detach().cpu().numpy()
    found = [_word(label, place) for place, label in enumerate(labels)]
    if count is not None and len(found) != count:
        raise DataError(f"{len(found)} labels for {count} samples")
    return found


def _word(label: Any, place: int) -> str:
    if isinstance(label, str):
        return label
    if isinstance(label, (bool, np.bool_)):
        return str(int(label))
    if isinstance(label, (int, np.integer)):
        return str(int(label))
    if isinstance(label, (float, np.floating)) and float(label).is_integer():
        return str(int(label))
    raise DataError(f"label {place} is {label!r}: labels are names or class numbers")


def names(labels: Any, count: int, classes: Iterable[str] | None) -> list[str] | None:
    """Return the name of each sample's class; numbers index ``classes`` if those are given."""
    if labels is None:
        return None
    array = np.asarray(labels.detach().cpu() if hasattr(labels, "detach") else labels)
    known = None if classes is None else list(classes)
    if array.dtype.kind in "OUS":
        found = words(array.tolist() if array.dtype.kind != "S" else array.astype(str).tolist(), count)
        return found
    if array.ndim == 2 and array.shape[1] > 1:
        most = array.shape[1]
    else:
        numbers = array.size > 0 and bool(np.isfinite(array.astype(np.float64)).all())
        most = int(array.max()) + 1 if numbers else 1
        if most > 2**32:
            raise DataError(f"label {most - 1} is too large: class numbers are below 2**32; give names instead")
    if known is not None:
        most = len(known)
    numbered = _native.labels(npy(array, "labels"), count, max(most, 1))
    return [known[label] for label in numbered] if known is not None else [str(label) for label in numbered]


def path_of(path: str | os.PathLike[str]) -> str:
    """Return a path as text, with the user's folder in place of ``~``."""
    return os.path.expanduser(os.fspath(path))
