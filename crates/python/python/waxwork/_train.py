"""Training, resuming and opening runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any, Union

from . import _arrays, _data, _native
from ._progress import Progress, reporter
from ._run import Path, Run
from .exceptions import DataError, RecipeError

Settings = Union[None, Mapping[str, Any], Iterable[str]]


def train(
    recipe: str | os.PathLike[str] | Mapping[str, Any],
    data: Any = None,
    *,
    test: Any = None,
    classes: Iterable[str] | None = None,
    label: str | None = None,
    data_dir: Path | None = None,
    set: Settings = None,
    steps: int | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    out: Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    progress: Progress = None,
) -> Run:
    """Train a model.

    An interrupt (``KeyboardInterrupt``) stops training after the current step, with a checkpoint;
    :func:`resume` continues from it to the same bytes.

    Parameters
    ----------
    recipe : str, path or mapping
        The name of a recipe (:func:`recipes` lists them), a TOML file, a run folder, or the keys of a recipe.
    data : arrays, data frame, path or str, optional
        What to learn from; default: the recipe's own data set. One of

        - images, or ``(images, labels)``: arrays ``(N, H, W)``, ``(N, H, W, C)`` or ``(N, C, H, W)`` as uint8, as
          booleans or as floats in [0, 1]; points ``(N, D)``. Labels are numbers, names or one-hot rows;
        - a pandas data frame, or a mapping of names to columns;
        - a folder of images, a file of rows (``.csv``, ``.parquet``) or of texts (``.txt``, ``.tsv``, ``.jsonl``);
        - the name of a data set, such as ``"digits"``.
    test : as `data`, optional
        What to measure on, for data in memory; default: a fixed part of `data`, a tenth of each class or a fifth
        of the rows.
    classes : iterable of str, optional
        The names of the classes: label `k` is ``classes[k]``. By default the labels that occur are the
        classes, in natural order.
    label : str, optional
        For tables: the column to predict from the others when the rows' use is measured.
    data_dir : path, optional
        The folder or the file of a named data set.
    set : mapping or iterable of str, optional
        Settings of the recipe: ``{"train.batch_size": 64}`` or ``["train.batch_size=64"]``.
    steps, epochs : int, optional
        The length of training.
    seed : int, optional
        The seed of the run.
    out : path, optional
        The run's folder; default: ``runs/RECIPE-TIME``.
    device : str
        ``cpu``, ``cuda``, ``cuda:N`` or ``metal``.
    threads : int, optional
        The number of threads; default: one per available processor. The bytes do not depend on it.
    progress : bool or callable, optional
        None shows a bar if tqdm is installed, True always, False never. A function is called with the stage,
        the parts that are done, their total (0 if unknown), and the values of the last logged step.

    Returns
    -------
    Run
        The finished run.

    Raises
    ------
    RecipeError
        If the recipe or a setting is unknown or invalid.
    DataError
        If the data cannot be used.
    RunError
        If the folder exists.
    TrainingError
        If training diverges.
    """
    given = _data.Given(data, test, classes, label, data_dir)
    asked, name = _recipe(recipe)
    settings = [*_data.settings(set), *given.settings]
    for key, value in (("train.seed", seed), ("train.epochs", epochs), ("train.steps", steps)):
        if value is not None:
            settings.append(f"{key}={_data.toml(value)}")
    if out is None:
        out = os.path.join("runs", f"{name}-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}")
    folder = _arrays.path_of(out)
    command = f"waxwork.train({name!r}, data={given.described}, set={settings!r})"
    try:
        with reporter(progress) as report:
            return Run(
                _native.train(asked, settings, given.memory, folder, command, device, threads, report)
            )
    except KeyboardInterrupt as interrupt:
        raise _interrupted(folder) from interrupt.__cause__


def resume(
    path: Path,
    data: Any = None,
    *,
    test: Any = None,
    classes: Iterable[str] | None = None,
    device: str = "cpu",
    threads: int | None = None,
    progress: Progress = None,
) -> Run:
    """Resume a run from its newest checkpoint, or open it if it is finished.

    Parameters
    ----------
    path : path
        The run's folder.
    data, test, classes
        For a run that learned from data in memory: the same data again, as for :func:`train`.
    device, threads, progress
        As for :func:`train`.

    Returns
    -------
    Run
        The finished run, with the same bytes as without the interruption.

    Raises
    ------
    RunError
        If the folder is not a run, or its data set has changed.
    TrainingError
        If the run had diverged.
    """
    memory = None if data is None else _data.Given(data, test, classes).memory
    if data is not None and memory is None:
        raise DataError("give the arrays or the table that the run learned from; files are found by the run itself")
    folder = _arrays.path_of(path)
    command = f"waxwork.resume({folder!r})"
    try:
        with reporter(progress) as report:
            return Run(_native.resume(folder, memory, command, device, threads, report))
    except KeyboardInterrupt as interrupt:
        raise _interrupted(folder) from interrupt.__cause__


def load(path: Path, *, raw: bool = False, device: str = "cpu") -> Run:
    """Open a run folder.

    Parameters
    ----------
    path : path
        The folder of a run that :func:`train` or the command made.
    raw : bool
        Take the weights of the newest checkpoint as training left them, not their moving average.
    device : str
        As for :func:`train`.

    Returns
    -------
    Run
        The run; with the weights of its newest checkpoint and a warning if it is not finished.

    Raises
    ------
    RunError
        If the folder is not a run, or has no weights yet.
    """
    return Run(_native.open(_arrays.path_of(path), device, raw))


def recipes() -> list[str]:
    """Return the names of the embedded recipes."""
    return _native.recipes()


def _recipe(recipe: Any) -> tuple[tuple[str, bool], str]:
    """What the native library gets, and the name of the recipe."""
    if isinstance(recipe, Mapping):
        try:
            return (json.dumps(recipe, default=_plain), True), "recipe"
        except (TypeError, ValueError) as error:
            raise RecipeError(f"recipe: {error}") from None
    if not isinstance(recipe, (str, os.PathLike)):
        raise RecipeError(f"recipe: {recipe!r} is not a name, a path or a mapping of keys")
    text = _arrays.path_of(recipe)
    name = os.path.basename(os.path.normpath(text))
    return (text, False), name.removesuffix(".toml")


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{value!r} is no value of a setting")


def _interrupted(folder: str) -> KeyboardInterrupt:
    checkpoints = os.path.join(folder, "checkpoints")
    if os.path.isdir(checkpoints) and os.listdir(checkpoints):
        return KeyboardInterrupt(f"interrupted; resume from the newest checkpoint with waxwork.resume({folder!r})")
    return KeyboardInterrupt("interrupted before the first checkpoint")
