"""A real JupyterLab, a real Chromium, and a notebook in them as a user has it; for the tests and the benchmarks."""

from __future__ import annotations

import contextlib
import json
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
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, sync_playwright

_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
_HOMES = (
    "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "JUPYTERLAB_SETTINGS_DIR",
    "JUPYTERLAB_WORKSPACES_DIR", "PLAYHEAD_RUNTIME_DIR",
)  # fmt: skip
_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "defer"},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}
_CURRENT = "window.jupyterapp?.shell.currentWidget"
GRID = '[data-playhead="live-grid"]'
PLAYER = '[data-playhead="replay-player"]'
STATUS = '[data-playhead="connection-status"]'


class Lab:
    """A running JupyterLab: its url, and the folder it shows."""

    def __init__(self, url: str, work: Path) -> None:
        self.url, self.work = url, work


class Notebook:
    """A notebook open in a page, as a user has it."""

    def __init__(self, lab: Lab, page: Page, name: str) -> None:
        self.page, self._lab, self._name = page, lab, name
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._heard)
        self.open()

    def _heard(self, message: ConsoleMessage) -> None:
        where = message.location.get("url", "") if message.location else ""
        if message.type == "error" and (where.startswith("blob:") or "playhead" in message.text or "widget" in message.text):
            self.errors.append(message.text)

    def open(self) -> None:
        """Open it, or open it anew as a reload does, and wait for its kernel."""
        self.page.goto(f"{self._lab.url}/lab/tree/{self._name}?reset")
        ready = f"{_CURRENT}?.sessionContext?.session?.kernel?.connectionStatus === 'connected'"
        self.page.wait_for_function(f"() => {ready}", timeout=60_000)

    def run(self) -> None:
        """Run all cells, without waiting for them."""
        self.page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells') }")

    def is_busy(self) -> bool:
        """Whether a cell has yet to end, by its prompt."""
        return any("*" in text for text in self.page.locator(".jp-InputPrompt").all_inner_texts())

    def wait_until_done(self) -> None:
        """Wait until every cell has ended."""
        prompts = "[...document.querySelectorAll('.jp-InputPrompt')].map(e => e.textContent)"
        self.page.wait_for_function(f"() => {prompts}.every(text => !text.includes('*'))", timeout=60_000)

    def ask(self, code: str) -> str:
        """Run code that prints a line in the idle kernel, past the cells; the line."""
        answer = """code => new Promise(done => {
          const asked = jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({code});
          asked.onIOPub = message => { if (message.header.msg_type === 'stream') done(message.content.text.trim()) };
        })"""
        return str(self.page.evaluate(answer, code))

    def use_theme(self, name: str) -> None:
        """As the settings menu does."""
        self.page.evaluate("name => jupyterapp.commands.execute('apputils:change-theme', {theme: name})", name)
        dark = "false" if "Dark" in name else "true"
        self.page.wait_for_selector(f'body[data-jp-theme-light="{dark}"]', state="attached")

    @property
    def grid(self) -> Locator:
        return self.page.locator(GRID)

    @property
    def player(self) -> Locator:
        return self.page.locator(PLAYER)

    @property
    def status(self) -> Locator:
        return self.page.locator(STATUS)


@contextlib.contextmanager
def jupyterlab(home: Path) -> Iterator[Lab]:
    """A JupyterLab that knows nothing of its user, with all its files in a folder."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "PLAYHEAD", "REDIS"))}
    env |= {name: str(home / name.lower()) for name in _HOMES} | {"PYTHONHASHSEED": "0"}
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    config = home / "jupyter_config_dir" / "labconfig"
    config.mkdir(parents=True)
    (config / "default_setting_overrides.json").write_text(json.dumps(_SETTINGS))
    work = home / "work"
    work.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0", "--IdentityProvider.token=", "--ServerApp.password=",
        "--ServerApp.disable_check_xsrf=True", f"--ServerApp.root_dir={work}", "--LabApp.expose_app_in_browser=True",
    ]  # fmt: skip
    with (home / "lab.log").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait_for(f"http://127.0.0.1:{port}/api", home / "lab.log")
            yield Lab(f"http://127.0.0.1:{port}", work)
        finally:
            process.terminate()
            process.wait(15)


def _wait_for(url: str, log: Path) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            assert time.monotonic() < end, log.read_text()[-2000:]
            time.sleep(0.1)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A Chromium. While it lives, this thread can run no event loop of its own."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=shutil.which("chromium"), headless=True, args=_FLAGS)
        yield found
        found.close()


def book_of(*cells: str) -> nbformat.NotebookNode:
    """A notebook of code cells."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return book
