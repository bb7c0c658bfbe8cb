"""The exceptions and the warning of this package.

Every error is a :class:`WaxworkError` with one line: what happened, where, and what to do. It has the
words of the command ``waxwork``.
"""

__all__ = [
    "DataError",
    "FileError",
    "ForkError",
    "InternalError",
    "ModelError",
    "RecipeError",
    "RunError",
    "TrainingError",
    "WaxworkError",
    "WaxworkWarning",
]


class WaxworkError(Exception):
    """The base of all exceptions of this package."""


class DataError(WaxworkError, ValueError):
    """Arrays, labels, tables or data sets that cannot be used."""


class FileError(WaxworkError, OSError):
    """A file that cannot be read or written."""


class ForkError(WaxworkError, RuntimeError):
    """A process that was forked while another thread was computing."""


class InternalError(WaxworkError, RuntimeError):
    """A bug in Waxwork. Report it with this message, and with what was written to standard error."""


class ModelError(WaxworkError, ValueError):
    """Something that a model cannot do, such as the encoding of a GAN."""


class RecipeError(WaxworkError, ValueError):
    """An unknown recipe, or an unknown or invalid setting."""


class RunError(WaxworkError, ValueError):
    """A folder that is not a run, exists already, is in use, or is damaged."""


class TrainingError(WaxworkError, ArithmeticError):
    """Training that diverged."""


class WaxworkWarning(UserWarning):
    """What the library did that you may not expect."""
