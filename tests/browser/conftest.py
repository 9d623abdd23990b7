"""One JupyterLab and one Chromium for all browser tests; a notebook of its own, in a page of its own, for each."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator

import nbformat
import pytest
from playwright.sync_api import Browser

import playhead as ph
from playhead.client.api import Client
from playhead_server.server import Running
from tests.browser.jupyter import Lab, Notebook, book_of, chromium, jupyterlab
from tests.conftest import TOKEN


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    """A publisher of its own, in this process."""
    with ph.connect(server.url, token=TOKEN) as found:
        yield found


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab of its own."""
    with jupyterlab(tmp_path_factory.mktemp("lab")) as found:
        yield found


@pytest.fixture(scope="package")  # not for the session: async tests run after it in the same thread
def browser() -> Iterator[Browser]:
    """A Chromium."""
    with chromium() as found:
        yield found


@pytest.fixture
def notebook(lab: Lab, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., Notebook]]:
    """Opens a notebook of these cells; at the end its kernel is gone, and nothing of ours has complained in the page."""
    context = browser.new_context(viewport={"width": 1280, "height": 1400})
    opened: list[Notebook] = []

    def open_notebook(*cells: str, book: nbformat.NotebookNode | None = None) -> Notebook:
        name = f"{request.node.name[:60]}.ipynb"
        nbformat.write(book or book_of(*cells), lab.work / name)
        opened.append(Notebook(lab, context.new_page(), name))
        return opened[-1]

    yield open_notebook
    context.close()
    with urllib.request.urlopen(f"{lab.url}/api/sessions", timeout=10) as answer:
        sessions = json.load(answer)
    for session in sessions:
        gone = urllib.request.Request(f"{lab.url}/api/sessions/{session['id']}", method="DELETE")
        urllib.request.urlopen(gone, timeout=10).close()
    assert [error for one in opened for error in one.errors] == []
