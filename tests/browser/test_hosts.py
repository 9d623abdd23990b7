"""The widgets where they are not in JupyterLab: in each other host, a real one, the same grid and the same player."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import nbformat
import papermill
import pytest
from nbclient import NotebookClient
from playwright.sync_api import Browser, Page, expect

from playhead.client.api import Client
from playhead_server.server import Running
from tests.browser.hosts import marimo, page_at, voila
from tests.browser.jupyter import GRID, PLAYER, Notebook, book_of, environment, notebook7
from tests.browser.pages import connect, event, history, rows

_GRID = "grid = ph.LiveGrid(client, batch_id='b')\n"
_PLAYER = "player = ph.ReplayPlayer(client, batch_id='b')\n"


def _is_live_and_rewinds(page: Page, client: Client) -> None:
    """Of three jobs: they are shown, a fourth as it comes; the marker goes to the first, stays there, and is live again."""
    grid, player = page.locator(GRID), page.locator(PLAYER)
    slider = player.get_by_role("slider")
    for root in (grid, player):
        expect(rows(root)).to_have_count(3, timeout=40_000)
    client.publish(event("progress", "later", progressPercentage=40))
    for root in (grid, player):
        expect(root.locator('[data-job="later"]')).to_have_attribute("data-progress", "40")
    slider.press("Home")
    expect(player).to_have_attribute("data-live", "false")
    expect(rows(player)).to_have_count(1)
    client.publish(event("completed", "later"))
    expect(grid.locator('[data-job="later"]')).to_have_attribute("data-state", "completed")
    expect(rows(player)).to_have_count(1)
    slider.press("End")
    expect(player).to_have_attribute("data-live", "true")
    expect(player.locator('[data-job="later"]')).to_have_attribute("data-state", "completed")


def test_in_notebook_7(browser: Browser, server: Running, client: Client, tmp_path: Path) -> None:
    """As in JupyterLab: rows, live, to the past and back."""
    client.publish(history(3))
    with notebook7(tmp_path) as host, page_at("about:blank", browser) as page:
        nbformat.write(book_of(connect(server.url), f"{_GRID}grid", f"{_PLAYER}player"), host.work / "book.ipynb")
        Notebook(host, page, "book.ipynb").run()
        _is_live_and_rewinds(page, client)


def test_in_voila(browser: Browser, server: Running, client: Client, tmp_path: Path) -> None:
    """A dashboard shows the live widgets, not the tables beside them, while the cell below them has yet to end."""
    client.publish(history(3))
    over = tmp_path / "over"
    busy = f"import pathlib, time\nwhile not pathlib.Path({str(over)!r}).exists(): time.sleep(0.05)\nprint('it is over')"
    with (
        voila(tmp_path, connect(server.url), f"{_GRID}grid", f"{_PLAYER}player", busy) as url,
        page_at(url, browser) as page,
    ):
        _is_live_and_rewinds(page, client)
        assert page.locator("table:not([data-playhead] table)").count() == 0
        assert page.get_by_text("it is over").count() == 0
        over.touch()
        expect(page.get_by_text("it is over")).to_be_visible(timeout=20_000)


@pytest.mark.parametrize("mode", ["run", "edit"])
def test_in_marimo(browser: Browser, server: Running, client: Client, tmp_path: Path, mode: Literal["run", "edit"]) -> None:
    """In an app and in a notebook, where a widget is a cell's plain last line as well as where mo.ui.anywidget() holds it."""
    client.publish(history(3))
    cells = f"import marimo as mo\n{connect(server.url)}", f"{_GRID}grid", f"{_PLAYER}mo.ui.anywidget(player)"
    with marimo(tmp_path, mode, *cells) as url, page_at(url, browser) as page:
        _is_live_and_rewinds(page, client)


# Without a browser

_WORK = """
import time
client.publish({"type": "job_failed", "batchId": batch, "jobId": "later", "executionId": "x", "data": {"error": "a reason"}})
client.flush(10)
for widget in (grid, player):
    end = time.monotonic() + 20
    while "a reason" not in str(widget._repr_mimebundle_()) and time.monotonic() < end:
        time.sleep(0.01)
    widget.close()
"""


@pytest.fixture
def no_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that this process starts know nothing of its user."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)


def _cells(url: str) -> list[str]:
    return [connect(url), _GRID.replace("'b'", "batch") + "grid", _PLAYER.replace("'b'", "batch") + "player", _WORK]


def _holds_the_last_state(book: nbformat.NotebookNode) -> None:
    """Where the widgets were shown there is now a table of each, which needs neither kernel nor script."""
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    assert [output.output_type for output in outputs] == ["display_data", "display_data"]
    for output in outputs:
        assert sorted(output.data) == ["text/html", "text/plain"]
        for text in ("<b>b</b>", "1 running", "2 completed", "1 failed", "later", "a reason"):
            assert text in output.data["text/html"]
        assert "<script" not in output.data["text/html"]


def test_nbclient_keeps_the_last_state(server: Running, client: Client, no_user: None) -> None:
    """A notebook executed without a page: what happened in a cell after those that show the widgets is in their outputs."""
    client.publish(history(3))
    book = book_of("batch = 'b'", *_cells(server.url))
    NotebookClient(book, timeout=60).execute()
    _holds_the_last_state(book)


def test_papermill_keeps_the_last_state_of_the_batch_it_is_given(
    server: Running, client: Client, tmp_path: Path, no_user: None
) -> None:
    """The batch is a parameter; the saved notebook has that batch's last state, not that of the one written in the cell."""
    client.publish([*history(3), event("started", "other", batch="another")])
    book = book_of("batch = 'another'", *_cells(server.url))
    book.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(book, tmp_path / "in.ipynb")
    papermill.execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", parameters={"batch": "b"}, progress_bar=False)
    executed = nbformat.read(tmp_path / "out.ipynb", 4)
    _holds_the_last_state(executed)
    assert "another" not in "".join(output.data["text/html"] for cell in executed.cells for output in cell.get("outputs", []))
