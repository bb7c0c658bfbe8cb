"""Small runs that several tests use, and the command to compare with."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

import waxwork as ww

# A shell starts programs in the background with interrupts ignored. The tests of interrupts need them.
signal.signal(signal.SIGINT, signal.default_int_handler)

SMALL = {
    "train.batch_size": 16,
    "train.log_every": 1,
    "train.sample_every": 10,
    "train.checkpoint_every": 10,
    "train.validate_every": 10,
    "data.limit": 200,
    "data.validation": 40,
}
"""Settings that make a run short."""

SMALL_VAE = {**SMALL, "model.network": {"kind": "mlp", "hidden": [16]}, "model.latent_dim": 3}


class Command:
    """The program `waxwork` as the workspace builds it."""

    def __init__(self) -> None:
        self.program = os.environ.get("WAXWORK_PROGRAM")

    def fails(self, *arguments: object) -> str:
        """Run the command, which must fail, and return its message."""
        done = self._run(*arguments)
        assert done.returncode != 0
        return done.stderr.strip().splitlines()[-1].removeprefix("error: ")

    def __call__(self, *arguments: object) -> str:
        done = self._run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        words = [str(argument) for argument in arguments]
        start = [self.program] if self.program else [sys.executable, "-m", "waxwork"]
        return subprocess.run([*start, *words], capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def command() -> Command:
    return Command()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def vae(home: Path) -> ww.Run:
    return ww.train("vae-digits", steps=20, set=SMALL_VAE, out=home / "vae", progress=False)


@pytest.fixture(scope="session")
def cvae(home: Path) -> ww.Run:
    return ww.train("cvae-digits", steps=20, set=SMALL_VAE, out=home / "cvae", progress=False)


@pytest.fixture(scope="session")
def cgan(home: Path) -> ww.Run:
    settings = {
        **SMALL,
        "model.generator": {"kind": "mlp", "hidden": [16]},
        "model.discriminator": {"kind": "mlp", "hidden": [16]},
    }
    return ww.train("cgan-digits-plain", steps=20, set=settings, out=home / "cgan", progress=False)


@pytest.fixture(scope="session")
def ring(home: Path) -> ww.Run:
    return ww.train("vae-ring", steps=20, set=SMALL, out=home / "ring", progress=False)


def images(count: int, seed: int = 0) -> np.ndarray:
    """Random grey images, uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8), dtype=np.uint8)


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a grey image without any other library."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def model(run: ww.Run) -> bytes:
    """The bytes of a run's final weights."""
    return (Path(run.path) / "model.safetensors").read_bytes()
