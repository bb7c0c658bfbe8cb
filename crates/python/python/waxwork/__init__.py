"""Train, sample and evaluate generative models: VAEs and GANs of images, tables, sounds and texts.

>>> import waxwork as ww
>>> run = ww.train("cgan-digits", steps=200, out="runs/mine")  # doctest: +SKIP
>>> images = run.sample(64, labels=[7] * 64)  # doctest: +SKIP

Every function computes without the interpreter's lock, and all randomness comes from seeds: the same call
gives the same bytes, and the same as the command ``waxwork``, which this package carries too.
"""

import os as _os

# The native library has threads of its own; those of candle would take the processors from them.
_os.environ.setdefault("CANDLE_NUM_THREADS", "1")

from . import metrics  # noqa: E402
from ._grid import Grid, grid  # noqa: E402
from ._native import __version__  # noqa: E402
from ._run import Metric, Run, Scores  # noqa: E402
from ._train import load, recipes, resume, train  # noqa: E402
from .exceptions import (  # noqa: E402
    DataError,
    FileError,
    ForkError,
    InternalError,
    ModelError,
    RecipeError,
    RunError,
    TrainingError,
    WaxworkError,
    WaxworkWarning,
)
from .table import TableSynthesizer  # noqa: E402

__all__ = [
    "DataError",
    "FileError",
    "ForkError",
    "Grid",
    "InternalError",
    "Metric",
    "ModelError",
    "RecipeError",
    "Run",
    "RunError",
    "Scores",
    "TableSynthesizer",
    "TrainingError",
    "WaxworkError",
    "WaxworkWarning",
    "__version__",
    "grid",
    "load",
    "metrics",
    "recipes",
    "resume",
    "train",
]
