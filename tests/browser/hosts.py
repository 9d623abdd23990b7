"""Hosts that make a web page of a notebook, each a real one on a port of its own, ended with its block: Voilà and marimo."""

from __future__ import annotations

import contextlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import nbformat
from playwright.sync_api import Browser, Page

from tests.browser.jupyter import book_of, complaints, environment, free_port, started


@contextlib.contextmanager
def page_at(url: str, browser: Browser) -> Iterator[Page]:
    """A page of its own; at the end nothing of ours has complained in it."""
    context = browser.new_context(viewport={"width": 1280, "height": 1400})
    try:
        page = context.new_page()
        errors = complaints(page)
        page.goto(url)
        yield page
        assert errors == []
    finally:
        context.close()


@contextlib.contextmanager
def voila(home: Path, *cells: str) -> Iterator[str]:
    """A dashboard of these cells, each shown when it has something to show; its url."""
    nbformat.write(book_of(*cells), home / "dashboard.ipynb")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "voila", "dashboard.ipynb", "--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1",
        "--progressive_rendering=True",
    ]  # fmt: skip
    with started(command, _environment(home), f"{url}/voila/", home / "voila.log"):
        yield url


@contextlib.contextmanager
def marimo(home: Path, mode: Literal["run", "edit"], *cells: str) -> Iterator[str]:
    """An app of these cells, or a notebook that runs them when it is opened; its url."""
    written = "".join(f"\n@app.cell\ndef _():\n{textwrap.indent(cell, '    ')}\n" for cell in cells)
    (home / "app.py").write_text(f"import marimo\n\napp = marimo.App()\n{written}")
    (home / ".marimo.toml").write_text("[runtime]\nauto_instantiate = true\n")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "marimo", mode, "app.py", "--headless", "--no-token", f"--port={port}"]
    command += ["--skip-update-check"] if mode == "edit" else []
    with started(command, _environment(home), f"{url}/health", home / "marimo.log"):
        yield url


def _environment(home: Path) -> dict[str, str]:
    places = ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
    return environment(home) | {"HOME": str(home)} | {name: str(home / name.lower()) for name in places}
