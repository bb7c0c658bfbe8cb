"""Progress bars, if tqdm is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Union

Report = Callable[[str, int, int, Mapping[str, float]], None]
Progress = Union[None, bool, Report]

_DELAY = 0.5
"""Seconds after which a bar appears, so that short work shows none."""


@contextmanager
def reporter(progress: Progress) -> Iterator[Report | None]:
    """Give what the native library reports progress to.

    None shows bars if tqdm is installed, True always, False never; a function gets the stage, the parts that
    are done, their total (0 if unknown) and the values of the last logged step.
    """
    if progress is False:
        yield None
        return
    if callable(progress):
        yield progress
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        if progress:
            raise
        yield None
        return
    bars = _Bars(tqdm)
    try:
        yield bars
    finally:
        bars.close()


class _Bars:
    """One bar after another, for the stages of the work."""

    def __init__(self, tqdm: Any) -> None:
        self._tqdm = tqdm
        self._stage: str | None = None
        self._bar: Any = None

    def __call__(self, stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        if stage != self._stage:
            self.close()
            self._stage = stage
            self._bar = self._tqdm(
                desc=stage, total=total or None, initial=done if stage == "training" else 0, leave=False, delay=_DELAY
            )
        if total:
            self._bar.total = total
        self._bar.update(done - self._bar.n)
        if values:
            self._bar.set_postfix({name: f"{value:.4g}" for name, value in values.items() if "loss" in name})

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
