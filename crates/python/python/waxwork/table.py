"""An estimator of tables with the conventions of scikit-learn."""

from __future__ import annotations

import inspect
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np

from ._progress import Progress
from ._run import Path, Run
from ._train import Settings, train
from .exceptions import DataError, ModelError

__all__ = ["TableSynthesizer"]


class TableSynthesizer:
    """A model that learns a table and draws rows like those it has seen.

    It has the conventions of scikit-learn: parameters are only stored by the constructor, `fit` returns the
    estimator, and what is learned has a name that ends with an underscore. It works as the last step of a
    pipeline and with ``sklearn.base.clone``; scikit-learn need not be installed.

    Parameters
    ----------
    recipe : str, path or mapping
        The recipe, as for :func:`waxwork.train`.
    label : str, optional
        The column to predict when the rows' use is measured.
    steps, epochs : int, optional
        The length of training; default: the recipe's.
    seed : int, optional
        The seed of the run.
    set : mapping or iterable of str, optional
        Settings of the recipe.
    out : path, optional
        The run's folder; default: a folder that is removed together with the estimator.
    device, threads, progress
        As for :func:`waxwork.train`.

    Attributes
    ----------
    run_ : waxwork.Run
        The run, after `fit`.
    feature_names_in_ : numpy.ndarray of str
        The names of the columns.
    n_features_in_ : int
        Their number.
    """

    _estimator_type = "density_estimator"

    def __init__(
        self,
        recipe: Any = "cgan-table",
        *,
        label: str | None = None,
        steps: int | None = None,
        epochs: int | None = None,
        seed: int | None = None,
        set: Settings = None,
        out: Path | None = None,
        device: str = "cpu",
        threads: int | None = None,
        progress: Progress = None,
    ) -> None:
        self.recipe = recipe
        self.label = label
        self.steps = steps
        self.epochs = epochs
        self.seed = seed
        self.set = set
        self.out = out
        self.device = device
        self.threads = threads
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> TableSynthesizer:
        """Learn a table.

        Parameters
        ----------
        X : pandas.DataFrame, mapping of columns or array ``(N, D)``
            The rows. The columns of an array are called ``x0``, ``x1`` and so on.
        y : sequence, optional
            One more column; its name is that of the series, else ``y``. It is the label if none is named.

        Returns
        -------
        TableSynthesizer
            The estimator itself.

        Raises
        ------
        DataError, RecipeError, RunError, TrainingError
            As :func:`waxwork.train`.
        """
        table, label = _table(X, y)
        out = self.out
        if out is None:
            folder = tempfile.mkdtemp(prefix="waxwork-")
            out = os.path.join(folder, "run")
        self.run_: Run = train(
            self.recipe,
            table,
            label=self.label or label,
            steps=self.steps,
            epochs=self.epochs,
            seed=self.seed,
            set=self.set,
            out=out,
            device=self.device,
            threads=self.threads,
            progress=self.progress,
        )
        if self.out is None:
            # The folder lives as long as the run; a forked child must not remove it.
            weakref.finalize(self.run_, _remove, folder, os.getpid())
        self.feature_names_in_ = np.array(list(self.run_.columns), dtype=object)
        self.n_features_in_ = len(self.feature_names_in_)
        return self

    def sample(
        self, n_samples: int = 1, *, where: Mapping[str, Any] | None = None, like: Any = None, seed: int = 0
    ) -> Any:
        """Draw rows.

        Parameters
        ----------
        n_samples : int
            The number of rows.
        where, like, seed
            As for :meth:`waxwork.Run.sample`.

        Returns
        -------
        pandas.DataFrame or dict of str to numpy.ndarray
            The rows, with the columns of the table.

        Raises
        ------
        ModelError
            If the estimator is not fitted, or its model does not take conditions.
        DataError
            If a column or a value is unknown.
        """
        if not self.__sklearn_is_fitted__():
            raise ModelError("this TableSynthesizer is not fitted: call `fit` with a table first")
        return self.run_.sample(
            n_samples, where=where, like=like, seed=seed, threads=self.threads, progress=self.progress
        )

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters of the constructor by name."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> TableSynthesizer:
        """Set parameters of the constructor, and return the estimator."""
        for name, value in params.items():
            if name not in self._names():
                raise ValueError(f"TableSynthesizer has no parameter `{name}`; it has {', '.join(self._names())}")
            setattr(self, name, value)
        return self

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "run_")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags

        inputs = InputTags(two_d_array=True, categorical=True, string=True, allow_nan=True)
        return Tags(estimator_type="density_estimator", target_tags=TargetTags(required=False), input_tags=inputs)

    def __repr__(self) -> str:
        defaults = {name: p.default for name, p in inspect.signature(type(self).__init__).parameters.items()}
        changed = {name: value for name, value in self.get_params().items() if value is not defaults[name]}
        return f"TableSynthesizer({', '.join(f'{name}={value!r}' for name, value in changed.items())})"


def _table(X: Any, y: Any) -> tuple[dict[str, Any], str | None]:
    """The columns of a table by name, and the name of the label if there is one."""
    if isinstance(X, Mapping):
        pairs = list(X.items())
    elif hasattr(X, "iloc") and hasattr(X, "columns"):
        pairs = [(str(name), X.iloc[:, place]) for place, name in enumerate(X.columns)]
    else:
        array = np.asarray(X)
        if array.ndim != 2:
            raise DataError(f"a table has rows and columns, but the shape is {list(array.shape)}")
        pairs = [(f"x{place}", array[:, place]) for place in range(array.shape[1])]
    label = None
    if y is not None:
        label = str(getattr(y, "name", None) or "y")
        pairs.append((label, y))
    names = [name for name, _ in pairs]
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise DataError(f"the table has two columns named `{twice}`; rename one")
    return dict(pairs), label


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
