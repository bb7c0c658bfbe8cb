"""Runs: folders of trained models that you can sample, measure and export."""

from __future__ import annotations

import base64
import html
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray

from . import _arrays, _data, _frames, _native
from ._progress import Progress, reporter
from .exceptions import DataError, ModelError

Labels = Union[None, int, str, Sequence[Union[int, str]], NDArray[Any]]
Path = Union[str, "os.PathLike[str]"]

_SAMPLES = 100
"""Samples where no number is given, as for the command."""
_COMPLETIONS = 8
_ROWS = 10
_SHOWN_ROWS = 8


@dataclass(frozen=True)
class Metric:
    """A number that an evaluation measured.

    Attributes
    ----------
    name : str
        For example ``judge_frechet``.
    value : float
        Its value, in `unit`.
    unit : str
        ``nats``, or empty.
    interval : tuple of float or None
        Lower and upper bound; `protocol` says which kind.
    floor : float or None
        The value of real data, which a perfect model would reach.
    higher_is_better : bool or None
        None if neither direction is better.
    protocol : dict of str to str
        What was measured and how. Only values with equal protocols can be compared.
    """

    name: str
    value: float
    unit: str
    interval: tuple[float, float] | None
    floor: float | None
    higher_is_better: bool | None
    protocol: dict[str, str]


class Scores(Mapping[str, float]):
    """The metrics of an evaluation: a mapping of names to values, and everything else in `metrics`."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.metrics = {metric.name: metric for metric in metrics}

    def __getitem__(self, name: str) -> float:
        return self.metrics[name].value

    def __iter__(self) -> Iterator[str]:
        return iter(self.metrics)

    def __len__(self) -> int:
        return len(self.metrics)

    def __repr__(self) -> str:
        width = max((len(name) for name in self), default=0)
        return "\n".join(f"{m.name:<{width}}  {m.value:.4g} {m.unit}".rstrip() for m in self.metrics.values())

    def _repr_html_(self) -> str:
        def cells(metric: Metric) -> list[str]:
            between = "" if metric.interval is None else "{:.4g} to {:.4g}".format(*metric.interval)
            floor = "" if metric.floor is None else f"{metric.floor:.4g}"
            return [metric.name, f"{metric.value:.4g} {metric.unit}".rstrip(), between, floor]

        return _table(["metric", "value", "interval", "real data"], [cells(m) for m in self.metrics.values()])


class Run:
    """A run with its model. :func:`waxwork.train`, :func:`waxwork.resume` and :func:`waxwork.load` return one.

    Samples are functions of the seed, of their number and of their label: the same call gives the same
    bytes, also with another number of threads, and the same bytes as the command ``waxwork sample``.
    """

    def __init__(self, native: _native.Run) -> None:
        self._native = native

    @property
    def path(self) -> str:
        """The absolute path of the run's folder."""
        return os.fspath(self._native.path)

    @property
    def family(self) -> str:
        """``vae``, ``cvae``, ``gan`` or ``cgan``."""
        return self._native.family

    @property
    def kind(self) -> str:
        """What its samples are: ``images``, ``points``, ``rows``, ``sounds`` or ``texts``."""
        return self._native.kind

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample as the model makes it; of images ``(C, H, W)``."""
        return tuple(self._native.shape)

    @property
    def latent_dim(self) -> int:
        """The length of a latent vector."""
        return self._native.latent_dim

    @property
    def classes(self) -> list[str]:
        """The names of the classes that you can ask for; empty for an unconditional model."""
        return self._native.classes

    @property
    def columns(self) -> dict[str, list[str] | str]:
        """The columns of the table: the values that one can have, or its kind; empty for other data."""
        return {name: kind if values is None else values for name, kind, values in self._native.columns or []}

    @property
    def steps(self) -> int:
        """The number of training steps behind the weights."""
        return self._native.steps

    @property
    def finished(self) -> bool:
        """Whether the weights are the final ones, not those of a checkpoint."""
        return self._native.finished

    @property
    def recipe(self) -> dict[str, Any]:
        """The complete recipe of the run."""
        found: dict[str, Any] = json.loads(self._native.recipe)
        return found

    def sample(
        self,
        n: int | None = None,
        labels: Labels = None,
        *,
        seed: int = 0,
        truncation: float | None = None,
        temperature: float = 1.0,
        where: Mapping[str, Any] | None = None,
        like: Any = None,
        threads: int | None = None,
        progress: Progress = None,
    ) -> Any:
        """Draw samples.

        Parameters
        ----------
        n : int, optional
            The number of samples; default: one per label or per row of `like`, else 100.
        labels : int, str or sequence of them, optional
            Names or numbers of classes: one per sample, or one for all. By default the classes of a
            conditional model take turns.
        seed : int
            The seed of the latents.
        truncation : float, optional
            Redraw latents beyond this magnitude.
        temperature : float
            Scales the noise of the samples of points, rows and texts; at 0 there is none. Images do not change.
        where : mapping, optional
            For tables: the values that columns must have, such as ``{"sex": "Female"}``. None stands for a
            missing value.
        like : data frame or mapping of columns, optional
            For tables: draw a row for each of these rows, with the same values in these columns. With another `n`,
            the rows repeat or end early.
        threads : int, optional
            The number of threads; default: one per available processor. The bytes do not depend on it.
        progress : bool or callable, optional
            See :func:`waxwork.train`.

        Returns
        -------
        numpy.ndarray, list of str or pandas.DataFrame
            Images ``(n, C, H, W)``, float32 in [0, 1]; points ``(n, D)``; waveforms ``(n, length)`` in [-1, 1];
            texts as a list; rows as a data frame, or as a dictionary of arrays without pandas.

        Raises
        ------
        DataError
            If a label or a value is unknown, or the number of labels is not `n`.
        ModelError
            If the model does not take such a condition.
        """
        rows = None if like is None else _frames.columns(like)
        if n is None:
            several = labels is not None and not isinstance(labels, (str, int, np.integer))
            n = len(labels) if several else _SAMPLES  # type: ignore[arg-type]
            if rows:
                n = len(rows[0][2])
        if n < 1:
            raise DataError(f"n is {n}: draw at least one sample")
        if not 0 <= temperature < float("inf"):
            raise DataError(f"the temperature is {temperature}: it must be a finite number, not negative")
        _check_seed(seed)
        if self.kind == "rows":
            if labels is not None:
                raise DataError("this model makes rows of a table: ask for values with `where`")
            if where is not None and like is not None:
                raise DataError("give `where` or `like`, not both")
            asked = [(name, self._value(name, value)) for name, value in (where or {}).items()]
            with reporter(progress) as report:
                found = self._native.sample_rows(n, seed, asked, rows, truncation, temperature, threads, report)
            return _frames.frame(found)
        if where is not None or like is not None:
            raise DataError("`where` and `like` are for models of tables")
        words = _arrays.words(labels, n)
        numbers = [] if words is None else self._native.labels(words)
        with reporter(progress) as report:
            made = self._native.sample(n, seed, numbers, truncation, temperature, threads, report)
        return _out(made)

    def encode(
        self,
        samples: Any,
        labels: Labels = None,
        *,
        threads: int | None = None,
        progress: Progress = None,
    ) -> NDArray[np.float32]:
        """Return the posterior means of samples.

        Parameters
        ----------
        samples : array, list of str, data frame or mapping of columns
            Samples of the run's kind; images ``(N, H, W)``, ``(N, H, W, C)`` or ``(N, C, H, W)`` as uint8, as
            booleans or as floats in [0, 1].
        labels : sequence of int or str, optional
            Their classes, which a conditional model needs.
        threads, progress
            As for :meth:`sample`.

        Returns
        -------
        numpy.ndarray
            ``(N, latent_dim)``, float32.

        Raises
        ------
        ModelError
            If the model has no encoder.
        DataError
            If the samples or labels do not fit.
        """
        numbers = self._numbers(labels, None)
        with reporter(progress) as report:
            return _arrays.floats(self._native.encode(_inputs(samples), numbers, threads, report))

    def reconstruct(
        self,
        samples: Any,
        labels: Labels = None,
        *,
        threads: int | None = None,
        progress: Progress = None,
    ) -> Any:
        """Return samples after they have been encoded and decoded.

        Parameters
        ----------
        samples, labels, threads, progress
            As for :meth:`encode`.

        Returns
        -------
        numpy.ndarray, list of str or pandas.DataFrame
            As for :meth:`sample`.

        Raises
        ------
        ModelError, DataError
            As for :meth:`encode`.
        """
        numbers = self._numbers(labels, None)
        with reporter(progress) as report:
            return _out(self._native.reconstruct(_inputs(samples), numbers, threads, report))

    def complete(
        self,
        images: Any,
        *,
        n: int = _COMPLETIONS,
        given: str | None = None,
        mask: Any = None,
        seed: int = 0,
        threads: int | None = None,
        progress: Progress = None,
    ) -> NDArray[np.float32]:
        """Complete images of which a part is given. Pixels that are given stay exactly as they are.

        Parameters
        ----------
        images : array
            As for :meth:`encode`.
        n : int
            How often to complete each image.
        given : {"lower-left", "left", "all-but-lower-right", "all-but-a-box"}, optional
            The part that is given; default: the part that the model learned with.
        mask : array, optional
            White (True, 1.0 or, in uint8, 255) where pixels are missing, and black where they are given:
            ``(H, W)`` for all images, or ``(N, H, W)``. Grey pixels count as the nearer of black and white.
        seed, threads, progress
            As for :meth:`sample`.

        Returns
        -------
        numpy.ndarray
            ``(N, n, C, H, W)``, float32 in [0, 1].

        Raises
        ------
        ModelError
            If the model has not learned to complete images.
        DataError
            If the images or the mask do not fit, or there is no such part.
        """
        if given is not None and mask is not None:
            raise DataError("give `given` or `mask`, not both")
        _check_seed(seed)
        _check_count("n", n, 1)
        white = None
        if mask is not None:
            array = _arrays.as_array(mask, "mask")
            white = _arrays.npy(array[None] if array.ndim == 2 else array, "mask")
        with reporter(progress) as report:
            made = self._native.complete(_arrays.npy(images, "images"), given, white, n, seed, threads, report)
        found = _arrays.floats(made)
        return found.reshape(-1, n, *found.shape[1:])

    def decode(
        self,
        latents: Any,
        labels: Labels = None,
        *,
        threads: int | None = None,
        progress: Progress = None,
    ) -> Any:
        """Return the samples of latent vectors.

        Parameters
        ----------
        latents : array
            ``(N, latent_dim)``.
        labels : int, str or sequence of them, optional
            One class per latent, or one for all; a conditional model needs them.
        threads, progress
            As for :meth:`sample`.

        Returns
        -------
        numpy.ndarray, list of str or pandas.DataFrame
            As for :meth:`sample`.

        Raises
        ------
        DataError
            If the latents have another shape or are not finite, or the labels do not fit.
        """
        array = _arrays.as_array(latents, "latents")
        numbers = self._numbers(labels, array.shape[0] if array.ndim else 0)
        with reporter(progress) as report:
            return _out(self._native.decode(_arrays.npy(array, "latents"), numbers, threads, report))

    def interpolate(
        self,
        rows: int = _ROWS,
        steps: int = 10,
        labels: Labels = None,
        *,
        fixed_latent: bool = False,
        seed: int = 0,
        threads: int | None = None,
        progress: Progress = None,
    ) -> Any:
        """Walk between random latents on great circles.

        Parameters
        ----------
        rows, steps : int
            The number of walks, and of samples of each, both ends included.
        labels : int, str or a pair of them, optional
            The class of all samples, or the classes to interpolate between; default: the first class.
        fixed_latent : bool
            Keep the latent of a row; change only the class.
        seed, threads, progress
            As for :meth:`sample`.

        Returns
        -------
        numpy.ndarray, list of str or pandas.DataFrame
            Arrays have the shape ``(rows, steps, ...)``; texts and rows of tables are one row after the other.

        Raises
        ------
        DataError
            If a label is unknown, or there are fewer than two steps.
        """
        _check_seed(seed)
        _check_count("rows", rows, 1)
        _check_count("steps", steps, 2)
        found = self._numbers(labels, None)
        if found is not None and not 1 <= len(found) <= 2:
            raise DataError("`labels` takes one label, or two to interpolate between")
        ends = None if found is None else (found[0], found[-1])
        with reporter(progress) as report:
            made = self._native.interpolate(rows, steps, ends, fixed_latent, seed, threads, report)
        return _grid(made, rows, steps)

    def traverse(
        self,
        dims: Sequence[int] | None = None,
        steps: int = 10,
        label: int | str | None = None,
        *,
        seed: int | None = None,
        threads: int | None = None,
        progress: Progress = None,
    ) -> Any:
        """Vary one latent dimension at a time, from -3 to 3.

        In a model with two groups of latents, the first group follows a dimension of the second, as the prior
        draws it.

        Parameters
        ----------
        dims : sequence of int, optional
            The latent dimensions, one per row; default: the first ten.
        steps : int
            The number of samples per row.
        label : int or str, optional
            The class of all samples; default: the first.
        seed : int, optional
            The seed of the other dimensions; default: they are 0.
        threads, progress
            As for :meth:`sample`.

        Returns
        -------
        numpy.ndarray, list of str or pandas.DataFrame
            As for :meth:`interpolate`, with one row per dimension.

        Raises
        ------
        DataError
            If there is no such dimension or class.
        """
        _check_count("steps", steps, 2)
        if seed is not None:
            _check_seed(seed)
        listed = list(range(min(_ROWS, self.latent_dim))) if dims is None else [int(dim) for dim in dims]
        for dim in listed:
            if not 0 <= dim < self.latent_dim:
                most = self.latent_dim - 1
                raise DataError(f"there is no latent dimension {dim}: this model has dimensions 0 to {most}")
        found = self._numbers(label, None)
        with reporter(progress) as report:
            made = self._native.traverse(listed, steps, found[0] if found else 0, seed, threads, report)
        return _grid(made, len(listed), steps)

    def evaluate(
        self,
        samples: int = 10_000,
        *,
        seed: int = 0,
        count: int | None = None,
        importance_samples: int = 0,
        accuracy: bool = False,
        inception: Path | None = None,
        data: Any = None,
        test: Any = None,
        classes: Iterable[str] | None = None,
        data_dir: Path | None = None,
        threads: int | None = None,
        progress: Progress = None,
    ) -> Scores:
        """Measure the run as ``waxwork evaluate`` does, and write ``metrics.json`` into its folder.

        Parameters
        ----------
        samples : int
            The number of samples to compare with real ones; 0 skips the comparison, as does a model that
            completes images.
        seed : int
            The seed of these samples.
        count : int, optional
            The number of test samples for the model's own metrics; default: all.
        importance_samples : int
            Draws per test sample for the log-likelihood; 0 skips it.
        accuracy : bool
            Whether to train a classifier on the samples.
        inception : path, optional
            The weights of Inception-v3, for FID.
        data, test, classes : optional
            For a run that was loaded, and that learned from data in memory: the same data, as for
            :func:`waxwork.train`.
        data_dir : path, optional
            The place of the data set, if it is another one than in training.
        threads, progress
            As for :meth:`sample`.

        Returns
        -------
        Scores
            A mapping of names to values.

        Raises
        ------
        DataError
            If the data set cannot be found, or `data` is not what the run learned from.
        ModelError
            If there is nothing to measure.
        """
        _check_seed(seed)
        _check_count("samples", samples, 0)
        _check_count("importance_samples", importance_samples, 0)
        if count is not None:
            _check_count("count", count, 1)
        memory = _data.memory(data, test, classes)
        place = None if data_dir is None else _arrays.path_of(data_dir)
        weights = None if inception is None else _arrays.path_of(inception)
        with reporter(progress) as report:
            found = self._native.evaluate(
                samples, seed, count, importance_samples, accuracy, weights, memory, place, threads, report
            )
        return Scores([Metric(*m[:3], None if m[3] is None else (m[3][0], m[3][1]), *m[4:]) for m in found])

    def report(
        self,
        path: Path | None = None,
        *,
        data: Any = None,
        test: Any = None,
        classes: Iterable[str] | None = None,
        data_dir: Path | None = None,
        threads: int | None = None,
        progress: Progress = None,
    ) -> str:
        """Write the page about the run: one HTML file that needs no network.

        Parameters
        ----------
        path : path, optional
            The file; default: ``report.html`` in the run's folder.
        data, test, classes, data_dir, threads, progress
            As for :meth:`evaluate`.

        Returns
        -------
        str
            The path of the page.

        Raises
        ------
        DataError
            If `data` is not what the run learned from.
        WaxworkError
            If the page cannot be written. The page itself lists the parts that could not be made, and why.
        """
        out = None if path is None else _arrays.path_of(path)
        place = None if data_dir is None else _arrays.path_of(data_dir)
        memory = _data.memory(data, test, classes)
        with reporter(progress) as report:
            return os.fspath(self._native.report(out, memory, place, threads, report))

    def export_onnx(self, path: Path | None = None, part: str | None = None) -> str:
        """Write a part of the model as an ONNX file.

        Parameters
        ----------
        path : path, optional
            The file; default: the part's name in the run's folder, such as ``decoder.onnx``.
        part : {"generator", "decoder", "encoder", "prior"}, optional
            Default: the part that makes samples.

        Returns
        -------
        str
            The path of the file.

        Raises
        ------
        ModelError
            If the model has no such part.
        FileError
            If the file cannot be written.
        """
        out = None if path is None else _arrays.path_of(path)
        return os.fspath(self._native.export(out, part))

    def weights(self, part: str | None = None) -> dict[str, NDArray[np.float32]]:
        """Return the tensors of the model under PyTorch's names.

        Parameters
        ----------
        part : str, optional
            Only the tensors of this part, such as ``"decoder"``, without its name in front.

        Returns
        -------
        dict of str to numpy.ndarray
            In the order of their names, float32.

        Raises
        ------
        ModelError
            If there is no such part.
        """
        found = {name: _arrays.floats((shape, values)) for name, shape, values in self._native.tensors()}
        if part is None:
            return found
        start = part + "."
        chosen = {name[len(start) :]: value for name, value in found.items() if name.startswith(start)}
        if not chosen:
            parts = ", ".join(sorted({name.split(".")[0] for name in found}))
            raise ModelError(f"there is no part `{part}`; parts are {parts}")
        return chosen

    def state_dict(self, part: str | None = None) -> dict[str, Any]:
        """Return the tensors of the model for ``torch.nn.Module.load_state_dict``.

        Parameters
        ----------
        part : str, optional
            As for :meth:`weights`.

        Returns
        -------
        dict of str to torch.Tensor
            In the order of their names, float32.

        Raises
        ------
        ImportError
            If torch is not installed.
        ModelError
            If there is no such part.
        """
        import torch

        return {name: torch.from_numpy(value) for name, value in self.weights(part).items()}

    def __repr__(self) -> str:
        shape = "" if self.kind in ("rows", "texts") else f" {self.shape}"
        classes = f", {len(self.classes)} classes" if self.classes else ""
        state = "" if self.finished else " (not finished)"
        return f"<waxwork.Run {self.path}: {self.family} of {self.kind}{shape}{classes}, {self.steps} steps{state}>"

    def _repr_html_(self) -> str:
        heading = f"<p><code>{html.escape(repr(self)[1:-1])}</code></p>"
        if self.kind == "rows":
            return heading + _rows_html(self.sample(_SHOWN_ROWS, progress=False))
        shown = os.fspath(self._native.shown)
        if not os.path.isfile(shown):
            return heading
        with open(shown, "rb") as file:
            contents = file.read()
        if shown.endswith(".txt"):
            lines = contents.decode("utf-8", "replace").splitlines()[:_ROWS]
            return heading + "<pre>" + html.escape("\n".join(lines)) + "</pre>"
        encoded = base64.b64encode(contents).decode("ascii")
        return f'{heading}<img alt="samples after {self.steps} steps" src="data:image/png;base64,{encoded}">'

    def _numbers(self, labels: Labels, count: int | None) -> list[int] | None:
        words = _arrays.words(labels, count)
        return None if words is None else self._native.labels(words)

    def _value(self, name: str, value: Any) -> str:
        if _frames.is_missing(value):
            return ""
        if isinstance(value, (bool, np.bool_)):
            return self._native.truth(name, bool(value))
        return str(value)


def _inputs(samples: Any) -> Any:
    if _frames.is_frame(samples):
        return _frames.columns(samples)
    if isinstance(samples, (list, tuple)) and samples and all(isinstance(text, str) for text in samples):
        return list(samples)
    return _arrays.npy(samples, "inputs")


def _out(made: Any) -> Any:
    if isinstance(made, tuple):
        return _arrays.floats(made)
    return _frames.frame(made) if made and isinstance(made[0], dict) else made


def _grid(made: Any, rows: int, steps: int) -> Any:
    found = _out(made)
    return found.reshape(rows, steps, *found.shape[1:]) if isinstance(found, np.ndarray) else found


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**64:
        raise DataError(f"the seed is {seed}: seeds are 0 to 2**64 - 1")


def _check_count(name: str, value: int, least: int) -> None:
    if not least <= value < 2**48:
        raise DataError(f"{name} is {value}: it must be at least {least}")


def _rows_html(rows: Any) -> str:
    if hasattr(rows, "to_html"):
        text: str = rows.to_html(index=False)
        return text
    names = list(rows)
    return _table(names, [[str(rows[name][row]) for name in names] for row in range(len(rows[names[0]]))])


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
