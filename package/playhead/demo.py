"""Real work on real input for demonstrations: audit a Python distribution installed in this environment, file by file."""

from __future__ import annotations

import ast
import contextlib
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

from playhead.client.api import Client
from playhead.client.jobs import Job


def distributions() -> list[str]:
    """The distributions installed here, by name, each once."""
    return sorted({dist.metadata["Name"] for dist in metadata.distributions() if dist.metadata["Name"]}, key=str.lower)


def about(name: str) -> dict[str, str]:
    """What a job that audits the distribution says of itself: its goal, ``site_name`` and ``site_url`` (its home page)."""
    told = {"goal": "Count what is documented", "site_name": name}
    found = metadata.metadata(name)
    links = dict(entry.split(", ", 1) for entry in found.get_all("Project-URL") or () if ", " in entry)
    home = found["Home-page"] or links.get("Homepage") or next(iter(links.values()), None)
    return told if home in (None, "UNKNOWN") else told | {"site_url": str(home)}


def audit(name: str, job: Job) -> dict[str, int]:
    """
    Parse every module of a distribution and count.

    Args:
        name: The distribution, as installed.
        job: Told how far it is, and which file is read; a percent at a time at most.

    Returns:
        ``modules``, ``lines``, ``functions``, ``classes``, and ``documented`` (functions and classes with a docstring).

    Raises:
        SyntaxError: a module cannot be parsed by this Python. ValueError, OSError: it cannot be read.
    """
    counts = {"modules": 0, "lines": 0, "functions": 0, "classes": 0, "documented": 0}
    job.progress(0, step="Finding files")
    files = [Path(str(file.locate())) for file in metadata.files(name) or () if file.suffix == ".py"]
    told = -1
    for place, path in enumerate(files):
        percent = 100 * place // len(files)
        if percent > told:
            told = percent
            job.progress(percent, step="Parsing modules", url=path.as_uri())
        _count(path, counts)
    job.progress(100, step="Done", counts=counts)
    return counts


def night(client: Client, batch_id: str, names: Iterable[str], workers: int = 2) -> None:
    """Audit distributions as one batch, a job each, so many at a time; what fails, fails in the log and stops nothing else."""

    def one(name: str) -> None:
        expected = contextlib.suppress(SyntaxError, ValueError, OSError, metadata.PackageNotFoundError)
        with expected, batch.job(name, goal="Count what is documented", site_name=name) as job:
            job.progress(0, step="Finding out about it")
            job.log("it is about", **about(name))
            audit(name, job)

    with client.batch(batch_id) as batch, ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(one, name) for name in names]:
            done.result()
    client.flush(20)


def _count(path: Path, counts: dict[str, int]) -> None:
    text = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # other people's escapes are not our news
        tree = ast.parse(text, filename=str(path))
    counts["modules"] += 1
    counts["lines"] += text.count(b"\n")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            counts["classes" if isinstance(node, ast.ClassDef) else "functions"] += 1
            counts["documented"] += ast.get_docstring(node, clean=False) is not None
