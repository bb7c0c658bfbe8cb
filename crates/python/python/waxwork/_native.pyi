"""The native library. The other modules of this package are its only users."""

import os
from collections.abc import Callable, Mapping
from typing import Any, final

__all__ = [
    "Data",
    "Run",
    "__version__",
    "command",
    "cover",
    "fail",
    "frechet",
    "grid",
    "is_data",
    "kernel",
    "labels",
    "open",
    "recipes",
    "resume",
    "score",
    "train",
]

_Report = Callable[[str, int, int, Mapping[str, float]], Any] | None
_Part = tuple[bytes, list[str] | None]
_Column = tuple[str, str, list[Any]]
_Path = str | os.PathLike[str]
_Metric = tuple[
    str, float, str, list[float] | None, float | None, bool | None, dict[str, str]
]

__version__: str

@final
class Data:
    @staticmethod
    def samples(train: _Part, test: _Part | None, classes: list[str] | None) -> Data: ...
    @staticmethod
    def table(train: list[_Column], test: list[_Column] | None) -> Data: ...

@final
class Run:
    path: os.PathLike[str]
    family: str
    kind: str
    shape: list[int]
    latent_dim: int
    classes: list[str]
    steps: int
    finished: bool
    has_encoder: bool
    seed: int
    data: str
    description: str
    recipe: str
    columns: list[tuple[str, str, list[str] | None]] | None
    shown: os.PathLike[str]
    def labels(self, words: list[str]) -> list[int]: ...
    def truth(self, column: str, value: bool) -> str: ...
    def sample(
        self,
        count: int,
        seed: int,
        labels: list[int],
        truncation: float | None,
        temperature: float,
        threads: int | None,
        progress: _Report,
    ) -> Any: ...
    def sample_rows(
        self,
        count: int,
        seed: int,
        asked: list[tuple[str, str]],
        like: list[_Column] | None,
        truncation: float | None,
        temperature: float,
        threads: int | None,
        progress: _Report,
    ) -> list[dict[str, Any]]: ...
    def encode(
        self, inputs: Any, labels: list[int] | None, threads: int | None, progress: _Report
    ) -> tuple[list[int], bytearray]: ...
    def reconstruct(
        self, inputs: Any, labels: list[int] | None, threads: int | None, progress: _Report
    ) -> Any: ...
    def complete(
        self,
        images: bytes,
        given: str | None,
        mask: bytes | None,
        draws: int,
        seed: int,
        threads: int | None,
        progress: _Report,
    ) -> tuple[list[int], bytearray]: ...
    def decode(
        self, latents: bytes, labels: list[int] | None, threads: int | None, progress: _Report
    ) -> Any: ...
    def interpolate(
        self,
        rows: int,
        steps: int,
        ends: tuple[int, int] | None,
        fixed_latent: bool,
        seed: int,
        threads: int | None,
        progress: _Report,
    ) -> Any: ...
    def traverse(
        self,
        dims: list[int],
        steps: int,
        label: int,
        seed: int | None,
        threads: int | None,
        progress: _Report,
    ) -> Any: ...
    def evaluate(
        self,
        samples: int,
        seed: int,
        count: int | None,
        importance_samples: int,
        accuracy: bool,
        inception: _Path | None,
        data: Data | None,
        data_dir: _Path | None,
        threads: int | None,
        progress: _Report,
    ) -> list[_Metric]: ...
    def report(
        self,
        out: _Path | None,
        data: Data | None,
        data_dir: _Path | None,
        threads: int | None,
        progress: _Report,
    ) -> os.PathLike[str]: ...
    def export(self, out: _Path | None, part: str | None) -> os.PathLike[str]: ...
    def tensors(self) -> list[tuple[str, list[int], bytearray]]: ...

def train(
    recipe: tuple[str, bool],
    settings: list[str],
    data: Data | None,
    out: _Path,
    command: str,
    device: str,
    threads: int | None,
    progress: _Report,
) -> Run: ...
def resume(
    path: _Path,
    data: Data | None,
    command: str,
    device: str,
    threads: int | None,
    progress: _Report,
) -> Run: ...
def open(path: _Path, device: str, raw: bool) -> Run: ...
def command(arguments: list[str]) -> int: ...
def recipes() -> list[str]: ...
def is_data(name: str) -> bool: ...
def fail(message: str, computing: bool) -> None: ...  # Only in a build with debug assertions.
def grid(npy: bytes, columns: int) -> bytes: ...
def labels(npy: bytes, count: int, classes: int) -> list[int]: ...
def frechet(real: bytes, generated: bytes) -> float: ...
def kernel(
    real: bytes, generated: bytes, subsets: int, size: int, seed: int
) -> tuple[float, float]: ...
def cover(real: bytes, generated: bytes, k: int) -> tuple[float, float, float, float]: ...
def score(probabilities: bytes) -> tuple[float, float]: ...
