"""The notebooks: each runs alone, top to bottom, in under a minute, and its cells give what its prose says."""

from __future__ import annotations

import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
# what the outputs of each have in them somewhere
SAYS = {
    "02_live_monitoring": ("numpie PackageNotFoundError", "pyarow PackageNotFoundError", "<b>tonight</b>"),
    "03_replay_and_time_travel": ("known before it", "had happened", "<b>audit</b>", "14 executions"),
    "04_analysis": ("Who ran when", "a row for each of 15 jobs", "Where the time goes", "Throughput", "✕ 2", "day=2"),
    "05_comparing_two_nights": ("Before and after", "5 matched", "pyarow", "'p': "),
    "06_publishing_from_your_jobs": (
        "exception is yours: no answer after 30 s", "first that failed: c.example has no title", "1 of them there already",
        "all of them there: True 1001",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb")) if not path.stem.startswith("01")])
def test_a_notebook_runs_by_itself(name: str) -> None:
    """In under a minute, without a browser; 01 is in browser/test_grid."""
    book = nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4)
    assert all(not cell.get("outputs") for cell in book.cells), "outputs are stripped"
    begun = time.monotonic()
    NotebookClient(book, timeout=60).execute()
    assert time.monotonic() - begun < 60
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    told = "\n".join(str(output.get("text", "")) + "".join(map(str, output.get("data", {}).values())) for output in outputs)
    for words in SAYS[name]:
        assert words in told, f"{words!r} is nowhere"
