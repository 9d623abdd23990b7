"""The widgets in a real JupyterLab, in a real browser, while the kernel is busy."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from playwright.sync_api import Page, sync_playwright

_ROOT = Path(__file__).parents[2]
_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
_HOMES = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "JUPYTERLAB_SETTINGS_DIR")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A JupyterLab of its own: its url, and the folder it shows."""
    env = os.environ | {name: str(tmp_path / name) for name in _HOMES} | {"JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "ws")}
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    work = tmp_path / "work"
    work.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0", "--IdentityProvider.token=", "--ServerApp.password=",
        "--ServerApp.disable_check_xsrf=True", f"--ServerApp.root_dir={work}", "--LabApp.expose_app_in_browser=True",
    ]  # fmt: skip
    with (tmp_path / "lab.log").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            end = time.monotonic() + 60
            while True:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=1):
                        break
                except OSError:
                    assert time.monotonic() < end, (tmp_path / "lab.log").read_text()[-2000:]
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}", work
        finally:
            process.terminate()
            process.wait(15)


def opened(page: Page, url: str, name: str) -> None:
    page.goto(f"{url}/lab/tree/{name}?reset")
    connected = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.connectionStatus === 'connected'"
    page.wait_for_function(f"() => {connected}", timeout=60_000)


def test_the_quickstart_runs_live_in_jupyterlab(lab: tuple[str, Path]) -> None:
    """While its batch runs the grid shows it; the player seeks to the past and back to live; no error on the page."""
    url, work = lab
    book = nbformat.read(_ROOT / "notebooks" / "01_quickstart.ipynb", 4)
    book.cells = book.cells[:-1]  # what closes the widgets
    nbformat.write(book, work / "quickstart.ipynb")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), headless=True, args=_FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1600})
        failures: list[str] = []
        page.on("pageerror", lambda error: failures.append(str(error)))
        opened(page, url, "quickstart.ipynb")
        page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells') }")
        page.wait_for_selector('[data-playhead="connection-status"][data-connection="connected"]', timeout=60_000)
        page.wait_for_selector('[data-playhead="live-grid"] [data-state="running"]', timeout=60_000)
        rows = '[data-playhead="live-grid"] .ph-row:not([hidden])'
        page.locator(".ph-summary", has_text="10 completed").first.wait_for(timeout=30_000)
        assert page.locator(rows).first.get_attribute("data-state") == "failed"
        player = page.locator('[data-playhead="replay-player"]')
        player.locator(".ph-summary", has_text="10 completed").wait_for(timeout=30_000)
        slider = player.locator("[role=slider]")
        slider.focus()
        slider.press("Home")
        player.locator(".ph-summary", has_text="1 running").wait_for(timeout=5_000)
        assert player.get_attribute("data-live") == "false"
        slider.press("End")
        player.locator(".ph-summary", has_text="10 completed").wait_for(timeout=5_000)
        assert player.get_attribute("data-live") == "true"
        assert failures == []
        browser.close()


def test_the_quickstart_runs_without_a_browser() -> None:
    """Top to bottom, as nbclient does."""
    book = nbformat.read(_ROOT / "notebooks" / "01_quickstart.ipynb", 4)
    NotebookClient(book, timeout=60).execute()
