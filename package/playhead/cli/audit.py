"""The demo's real work: audit a Python distribution installed in this environment, file by file."""

from __future__ import annotations

import ast
from importlib import metadata
from pathlib import Path
from typing import Any

from playhead.client import connect
from playhead.client.api import Client

_clients: dict[str, Client] = {}


def names() -> list[str]:
    """The distributions installed here, by name, each once."""
    return sorted({dist.metadata["Name"] for dist in metadata.distributions() if dist.metadata["Name"]}, key=str.lower)


def audit(name: str, batch: str, url: str, token: str) -> dict[str, Any]:
    """
    Parse every module of a distribution and count; publishes a job of ``batch`` from the process it runs in.

    Returns:
        ``{"name", "modules", "lines", "functions", "classes", "documented"}``, or ``{"name", "error"}`` when a module
        cannot be parsed: that job has failed.
    """
    client = _clients.get(url) or _clients.setdefault(url, connect(url, token=token))
    about = metadata.metadata(name)
    job = client.batch(batch).job(name, goal="Count what is documented", site_name=name, site_url=_home(about))
    counts = {"modules": 0, "lines": 0, "functions": 0, "classes": 0, "documented": 0}
    try:
        with job:
            files = [file for file in metadata.files(name) or () if file.suffix == ".py"]
            job.progress(0, step="Finding files", files=len(files))
            for place, file in enumerate(files):
                path = Path(str(file.locate()))
                if place % max(1, len(files) // 25) == 0:
                    job.progress(round(100 * place / len(files), 1), step="Parsing modules", url=path.as_uri())
                _count(path, counts)
            job.progress(100, step="Done", counts=counts)
    except (SyntaxError, ValueError, OSError, RecursionError) as error:
        return {"name": name, "error": f"{type(error).__name__}: {error}"}
    finally:
        client.flush(5)
    return {"name": name} | counts


def _count(path: Path, counts: dict[str, int]) -> None:
    text = path.read_bytes()
    tree = ast.parse(text, filename=str(path))
    counts["modules"] += 1
    counts["lines"] += text.count(b"\n")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            counts["classes" if isinstance(node, ast.ClassDef) else "functions"] += 1
            counts["documented"] += ast.get_docstring(node, clean=False) is not None


def _home(about: Any) -> str | None:
    """The home page that a distribution names."""
    links = dict(entry.split(", ", 1) for entry in about.get_all("Project-URL") or () if ", " in entry)
    home = about["Home-page"] or next(iter(links.values()), None)
    return None if home in (None, "UNKNOWN") else str(home)
