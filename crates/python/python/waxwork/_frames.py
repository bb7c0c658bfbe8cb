"""Tables on their way into the native library and out of it: pandas data frames, or mappings of columns."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .exceptions import DataError

Column = tuple[str, str, list[Any]]


def is_frame(data: Any) -> bool:
    """Whether this is a table: a data frame, or a mapping of columns."""
    return isinstance(data, Mapping) or (hasattr(data, "iloc") and hasattr(data, "columns"))


def columns(frame: Any) -> list[Column]:
    """Return name, kind and values of each column."""
    if isinstance(frame, Mapping):
        return [_column(str(name), values) for name, values in frame.items()]
    return [_column(str(name), frame.iloc[:, place]) for place, name in enumerate(frame.columns)]


def _column(name: str, values: Any) -> Column:
    dtype = getattr(values, "dtype", None)
    kind = getattr(dtype, "kind", "O")
    if str(dtype) == "category":
        values, kind = values.astype(object), "O"
    if kind == "M":
        return name, "time", _times(name, values)
    if kind in "mcV":
        raise DataError(f"column `{name}` has the type {dtype}: columns are texts, numbers, booleans or dates")
    if kind == "f" and hasattr(values, "to_numpy"):
        return name, "number", values.to_numpy(dtype=np.float64, na_value=math.nan).tolist()
    if kind == "f":
        return name, "number", np.asarray(values, dtype=np.float64).tolist()
    return _objects(name, values)


def _times(name: str, values: Any) -> list[int | None]:
    """Nanoseconds since 1970, in UTC if there is a time zone."""
    if getattr(values.dtype, "tz", None) is not None:
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
    given = np.asarray(values)
    times = given.astype("datetime64[ns]")
    # Dates that nanoseconds cannot count wrap around.
    for row in np.flatnonzero((times.astype(given.dtype) != given) & ~np.isnat(given))[:1]:
        raise DataError(f"column `{name}` has {given[row]} in row {row}: dates must lie between 1678 and 2261")
    numbers = times.astype(np.int64)
    missing = np.iinfo(np.int64).min
    return [None if number == missing else number for number in numbers.tolist()]


def _objects(name: str, values: Any) -> Column:
    listed = values.tolist() if hasattr(values, "tolist") else list(values)
    found = [None if is_missing(value) else value for value in listed]
    present = [value for value in found if value is not None]
    for row, value in enumerate(found):
        if isinstance(value, datetime.date) and not 1678 <= value.year <= 2261:
            raise DataError(f"column `{name}` has {value} in row {row}: dates must lie between 1678 and 2261")
    for kind, types, convert in _KINDS:
        if present and all(isinstance(value, types) and _fits(value, kind) for value in present):
            return name, kind, [None if value is None else convert(value) for value in found]
    if present and all(isinstance(value, _NUMBERS) for value in present):
        return name, "number", [math.nan if value is None else float(value) for value in found]
    for row, value in enumerate(found):
        if value is not None and not isinstance(value, (str, *_NUMBERS)):
            raise DataError(
                f"column `{name}` has a {type(value).__name__} in row {row}: "
                "columns are texts, numbers, booleans or dates"
            )
    return name, "text", [None if value is None else str(value) for value in found]


def _nanoseconds(value: Any) -> int:
    if getattr(value, "tzinfo", None) is not None:
        value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return int(np.datetime64(value, "ns").astype(np.int64))


_NUMBERS = (int, float, np.integer, np.floating)
_KINDS: tuple[tuple[str, tuple[type, ...], Any], ...] = (
    ("boolean", (bool, np.bool_), bool),
    ("integer", (int, np.integer), int),
    ("time", (datetime.date, np.datetime64), _nanoseconds),
)


def _fits(value: Any, kind: str) -> bool:
    return kind != "integer" or (not isinstance(value, bool) and -(2**63) <= value < 2**63)


def is_missing(value: Any) -> bool:
    """Whether a value of a table is missing."""
    # NaN, NaT and pandas' NA are the values that are not equal to themselves; NA says so with an error.
    if value is None:
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):
        return type(value).__name__ == "NAType"


def frame(found: list[dict[str, Any]]) -> Any:
    """Return columns as a pandas data frame, or as a dictionary of arrays if pandas is not installed."""
    try:
        import pandas
    except ImportError:
        return {column["name"]: _values(column) for column in found}
    data = {column["name"]: _series(column, pandas) for column in found}
    return pandas.DataFrame(data)


def _series(column: dict[str, Any], pandas: Any) -> Any:
    values = _values(column)
    kind, stored = column["kind"], column["stored"]
    if kind == "integer" and values.dtype.kind == "f":
        return pandas.array(values, dtype="Int64")
    numbered = values.dtype == object and stored in ("integer", "boolean")
    if numbered and not any(isinstance(value, str) for value in values):
        return pandas.array(values, dtype={"integer": "Int64", "boolean": "boolean"}[stored])
    return values


def _values(column: dict[str, Any]) -> Any:
    if "times" in column:
        return np.frombuffer(column["times"], dtype=np.int64).view("datetime64[ns]")
    if "numbers" in column:
        numbers = np.frombuffer(column["numbers"], dtype=np.float64)
        whole = column["kind"] == "integer" and bool(np.isfinite(numbers).all())
        return numbers.astype(np.int64) if whole else numbers
    entries: list[Any] = [_entry(text, column) for text in column["texts"]]
    codes = np.frombuffer(column["codes"], dtype=np.int32)
    missing = bool(codes.size and codes.max() == len(entries)) or any(entry is None for entry in entries)
    if all(isinstance(entry, float) for entry in entries):
        return np.array([*entries, math.nan], dtype=np.float64)[codes]
    if not missing and not any(isinstance(entry, str) for entry in entries):
        return np.array(entries)[codes]
    dictionary = np.empty(len(entries) + 1, dtype=object)
    dictionary[:-1] = entries
    dictionary[-1] = None
    return dictionary[codes]


def _entry(text: str | None, column: dict[str, Any]) -> Any:
    """The value that a text stands for: a number or truth value if the column had those."""
    stored = column["stored"]
    if text is None:
        return None
    if stored == "boolean" or (stored == "" and "yes" in column and column["yes"].lower() == "true"):
        return text == column.get("yes", "true")
    if stored in ("integer", "number"):
        try:
            return int(text) if stored == "integer" else float(text)
        except ValueError:
            # The text for all rare values is not a number.
            return text
    return text
