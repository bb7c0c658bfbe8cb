"""Runs the scripts of this folder as notebooks: `run.py OUT` writes OUT/NAME.ipynb with their output."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook


def cells(script: str) -> list[nbformat.NotebookNode]:
    """The cells of a script: each begins with a line `# %%`, or `# %% [markdown]` with text in comments."""
    found = []
    for cell in script.split("# %%")[1:]:
        head, _, body = cell.partition("\n")
        if "[markdown]" in head:
            text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in body.strip().splitlines())
            found.append(new_markdown_cell(text, id=f"cell-{len(found)}"))
        else:
            found.append(new_code_cell(body.strip(), id=f"cell-{len(found)}"))
    return found


def main(out: Path) -> None:
    """Run every script, and write the notebooks."""
    out.mkdir(parents=True, exist_ok=True)
    for script in sorted(Path(__file__).parent.glob("*.py")):
        if script.name == "run.py":
            continue
        notebook = new_notebook(cells=cells(script.read_text(encoding="utf-8")))
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        with tempfile.TemporaryDirectory() as folder:
            NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}}).execute()
        for cell in notebook.cells:
            # Times and the machine's name for itself change with every run.
            cell.metadata.pop("execution", None)
        notebook.metadata.pop("language_info", None)
        target = out / f"{script.stem}.ipynb"
        nbformat.write(notebook, target)
        print(f"{target}: {os.path.getsize(target):,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
