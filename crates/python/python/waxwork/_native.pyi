"""The native library. The other modules of this package are its only users."""

import os
from collections.abc import Callable, Mapping
from typing import Any

Report = Callable[[str, int, int, Mapping[str, float]], Any] | None
Part = tuple[bytes, list[str] | None]
Column = tuple[str, str, list[Any]]
Path = str | os.PathLike[str]
Metric = tuple[
    str, float, str, list[float] | None, float | None, bool | None, dict[str, str]
]

__version__: str

class Data:
    @staticmethod
    def samples(train: Part, test: Part | None, classes: list[str] | None) -> Data: ...
    @staticmethod
    def table(train: list[Column], test: list[Column] | None) -> Data: ...

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
        progress: Report,
    ) -> Any: ...
    def sample_rows(
        self,
        count: int,
        seed: int,
        asked: list[tuple[str, str]],
        like: list[Column] | None,
        truncation: float | None,
        temperature: float,
        threads: int | None,
        progress: Report,
    ) -> list[dict[str, Any]]: ...
    def encode(
        self, inputs: Any, labels: list[int] | None, threads: int | None, progress: Report
    ) -> tuple[list[int], bytearray]: ...
    def reconstruct(
        self, inputs: Any, labels: list[int] | None, threads: int | None, progress: Report
    ) -> Any: ...
    def decode(
        self, latents: bytes, labels: list[int] | None, threads: int | None, progress: Report
    ) -> Any: ...
    def interpolate(
        self,
        rows: int,
        steps: int,
        ends: tuple[int, int] | None,
        fixed_latent: bool,
        seed: int,
        threads: int | None,
        progress: Report,
    ) -> Any: ...
    def traverse(
        self,
        dims: list[int],
        steps: int,
        label: int,
        seed: int | None,
        threads: int | None,
        progress: Report,
    ) -> Any: ...
    def evaluate(
        self,
        samples: int,
        seed: int,
        count: int | None,
        importance_samples: int,
        accuracy: bool,
        inception: Path | None,
        data: Data | None,
        data_dir: Path | None,
        threads: int | None,
        progress: Report,
    ) -> list[Metric]: ...
    def report(
        self, out: Path | None, data: Data | None, data_dir: Path | None, threads: int | None
    ) -> os.PathLike[str]: ...
    def export(self, out: Path | None, part: str | None) -> os.PathLike[str]: ...
    def tensors(self) -> list[tuple[str, list[int], bytearray]]: ...

def train(
    recipe: tuple[str, bool],
    settings: list[str],
    data: Data | None,
    out: Path,
    command: str,
    device: str,
    threads: int | None,
    progress: Report,
) -> Run: ...
def resume(
    path: Path,
    data: Data | None,
    command: str,
    device: str,
    threads: int | None,
    progress: Report,
) -> Run: ...
def open(path: Path, device: str, raw: bool) -> Run: ...
def command(arguments: list[str]) -> int: ...
def recipes() -> list[str]: ...
def is_data(name: str) -> bool: ...
def grid(npy: bytes, columns: int) -> bytes: ...
def labels(npy: bytes, count: int, classes: int) -> list[int]: ...
def frechet(real: bytes, generated: bytes) -> float: ...
def kernel(
    real: bytes, generated: bytes, subsets: int, size: int, seed: int
) -> tuple[float, float]: ...
def cover(real: bytes, generated: bytes, k: int) -> tuple[float, float, float, float]: ...
def score(probabilities: bytes) -> tuple[float, float]: ...
