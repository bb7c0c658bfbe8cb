"""The scripts of the notebooks run from start to end."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

SCRIPTS = sorted(Path(__file__).parents[1].joinpath("notebooks").glob("*.py"))


@pytest.mark.parametrize("script", [script for script in SCRIPTS if script.name != "run.py"], ids=lambda s: s.stem)
@pytest.mark.filterwarnings("default")
def test_a_notebook_runs(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(script))
    assert list((tmp_path / "runs").iterdir())
