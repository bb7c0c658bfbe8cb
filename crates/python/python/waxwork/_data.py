"""What `data=` may be: arrays, a table, a folder or a file, or a name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from . import _arrays, _frames, _native
from .exceptions import DataError

_FILES = {".csv": "table", ".parquet": "table", ".txt": "text", ".tsv": "text", ".jsonl": "text"}


class Given:
    """The meaning of a `data` argument: data in memory, or settings of a recipe."""

    def __init__(
        self,
        data: Any,
        test: Any = None,
        classes: Iterable[str] | None = None,
        label: str | None = None,
        data_dir: Any = None,
    ) -> None:
        self.memory: _native.Data | None = None
        self.settings: list[str] = []
        self.described = "None" if data is None else repr(data)
        if data is None or isinstance(data, (str, os.PathLike)):
            if test is not None or classes is not None:
                raise DataError("`test` and `classes` are for data in memory; name the files in `set` instead")
            self._of_files(data, data_dir)
        elif data_dir is not None:
            raise DataError("`data_dir` is the place of a named data set, but `data` is in memory")
        elif _frames.is_frame(data):
            if classes is not None:
                raise DataError("`classes` names the classes of images, but `data` is a table")
            test_columns = None if test is None else _frames.columns(test)
            self.memory = _native.Data.table(_frames.columns(data), test_columns)
            self.settings.append('data.name="memory"')
            self.described = f"<a table with {len(data.columns) if hasattr(data, 'columns') else len(data)} columns>"
        else:
            if label is not None:
                raise DataError("`label` names a column of a table, but `data` holds arrays")
            known = None if classes is None else [str(name) for name in classes]
            train = _samples(data, known)
            self.memory = _native.Data.samples(train, None if test is None else _samples(test, known), known)
            self.settings.append('data.name="memory"')
            self.described = f"<{_shape(data)}>"
        if label is not None:
            self.settings.append(f"data.table.label={toml(label)}")

    def _of_files(self, data: Any, data_dir: Any) -> None:
        if data is None and data_dir is None:
            return
        name = data
        if data is not None and not (isinstance(data, str) and _native.is_data(data)):
            path = _arrays.path_of(data)
            ending = os.path.splitext(path)[1].lower()
            if os.path.isdir(path):
                name, data_dir = "folder", path
            elif ending in _FILES and (os.path.exists(path) or not isinstance(data, str) or os.sep in path):
                name, data_dir = _FILES[ending], path
            elif not isinstance(data, str) or os.path.exists(path):
                raise DataError(f"`{path}` is not a folder, nor a file of rows (.csv, .parquet) or texts (.txt, .tsv, .jsonl)")
        if name is not None:
            self.settings.append(f"data.name={toml(str(name))}")
        if data_dir is not None:
            # Absolute, since the run may be resumed from another working folder.
            self.settings.append(f"data.dir={toml(os.path.abspath(_arrays.path_of(data_dir)))}")


def memory(data: Any, test: Any = None, classes: Iterable[str] | None = None) -> _native.Data | None:
    """Return data in memory for a run that exists; None stands for the run's own data."""
    if data is None:
        return None
    given = Given(data, test, classes)
    if given.memory is None:
        raise DataError("give the arrays or the table that the run learned from; for a folder use `data_dir`")
    return given.memory


def _samples(data: Any, classes: list[str] | None) -> tuple[bytes, list[str] | None]:
    images, labels = data, None
    if isinstance(data, tuple) and len(data) == 2:
        images, labels = data
    elif isinstance(data, tuple):
        raise DataError(f"a tuple of {len(data)} is not data: give images, or (images, labels)")
    array = _arrays.as_array(images, "images")
    count = array.shape[0] if array.ndim else 0
    if count == 0:
        raise DataError(f"images: there are none: the shape is {list(array.shape)}")
    return _arrays.npy(array, "images"), _arrays.names(labels, count, classes)


def _shape(data: Any) -> str:
    images = data[0] if isinstance(data, tuple) else data
    return f"an array of shape {tuple(getattr(images, 'shape', ()))}"


def settings(given: Mapping[str, Any] | Iterable[str] | None) -> list[str]:
    """Return settings of a recipe as `key=value` with TOML values."""
    if given is None:
        return []
    if isinstance(given, str):
        return [given]
    if isinstance(given, Mapping):
        return [f"{key}={toml(value)}" for key, value in given.items()]
    return [str(setting) for setting in given]


def toml(value: Any) -> str:
    """Return a value in TOML's notation."""
    import json

    if hasattr(value, "item") and not isinstance(value, (str, Mapping)):
        value = value.item()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(str(key))} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, (str, os.PathLike)):
        return json.dumps(os.fspath(value), ensure_ascii=False)
    raise TypeError(f"{value!r} is no value of a setting")
