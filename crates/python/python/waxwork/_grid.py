"""Images side by side, for notebooks."""

from __future__ import annotations

from pathlib import Path as _Path
from typing import Any

from . import _arrays, _native
from ._run import Path


class Grid:
    """One PNG image of several samples, which a notebook shows."""

    def __init__(self, png: bytes) -> None:
        self.png = png

    def save(self, path: Path) -> None:
        """Write the image to a PNG file."""
        _Path(path).write_bytes(self.png)

    def __repr__(self) -> str:
        return f"<waxwork.Grid of {len(self.png)} bytes>"

    def _repr_png_(self) -> bytes:
        return self.png


def grid(images: Any, columns: int = 10) -> Grid:
    """Arrange images in a grid, or plot points.

    Parameters
    ----------
    images : array
        Images ``(N, H, W)``, ``(N, H, W, C)`` or ``(N, C, H, W)`` as uint8, as booleans or as floats in [0, 1],
        or points ``(N, 2)``.
    columns : int
        The number of images per row.

    Returns
    -------
    Grid
        A notebook shows it; `png` has its bytes, and `save` writes them.

    Raises
    ------
    DataError
        If the images cannot be used.
    """
    return Grid(_native.grid(_arrays.npy(images, "images"), columns))
