"""A real JupyterLab or Notebook 7, a real Chromium, and a notebook in them as a user has it; for tests and benchmarks."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import nbformat
from playwright.sync_api import Browser, ConsoleMessage, Error, Locator, Page, sync_playwright

from tests.conftest import free_port

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
_OURS = ("blob:", "/@file/", "playhead", "widget")  # Jupyter's hosts load a widget's module from a blob, marimo from a file
GRID = '[data-playhead="live-grid"]'
PLAYER = '[data-playhead="replay-player"]'
STATUS = '[data-playhead="connection-status"]'


class Lab:
    """A running JupyterLab, or what else opens notebooks: its url, the folder it shows, where it opens one of them."""

    def __init__(self, url: str, work: Path, place: str = "lab/tree/{}?reset") -> None:
        self.url, self.work, self.place = url, work, place


def complaints(page: Page) -> list[str]:
    """The errors of our modules in a page, told as they come; what a host complains of by itself is not among them."""
    found: list[str] = []

    def threw(error: Error) -> None:
        told = f"{error.message}\n{error.stack}"
        if any(mark in told for mark in _OURS):
            found.append(told)

    def said(message: ConsoleMessage) -> None:
        told = f"{message.text}\n{message.location.get('url', '') if message.location else ''}"
        if message.type == "error" and any(mark in told for mark in _OURS):
            found.append(told)

    page.on("pageerror", threw)
    page.on("console", said)
    return found


class Notebook:
    """A notebook open in a page, as a user has it."""

    def __init__(self, lab: Lab, page: Page, name: str) -> None:
        self.page, self._lab, self.name = page, lab, name
        self.errors = complaints(page)
        self.open()

    def open(self) -> None:
        """Open it, or open it anew as a reload does, and wait for its kernel."""
        self.page.goto(f"{self._lab.url}/{self._lab.place.format(self.name)}")
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
        answer = """code => new Promise((done, failed) => {
          const asked = jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({code});
          asked.onIOPub = message => {
            if (message.header.msg_type === 'stream') done(message.content.text.trim());
            if (message.header.msg_type === 'error') failed(new Error(message.content.evalue));
          };
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


def environment(home: Path) -> dict[str, str]:
    """The variables of a process that knows nothing of its user, with all its files in a folder."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "PLAYHEAD", "REDIS"))}
    env |= {name: str(home / name.lower()) for name in _HOMES} | {"PYTHONHASHSEED": "0"}
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    return env


def jupyterlab(home: Path) -> contextlib.AbstractContextManager[Lab]:
    """A JupyterLab that knows nothing of its user, with all its files in a folder."""
    return _jupyter(home, "lab", "LabApp", "lab/tree/{}?reset")


def notebook7(home: Path) -> contextlib.AbstractContextManager[Lab]:
    """A Notebook 7, likewise."""
    return _jupyter(home, "notebook", "JupyterNotebookApp", "notebooks/{}")


@contextlib.contextmanager
def _jupyter(home: Path, command: str, app: str, place: str) -> Iterator[Lab]:
    config = home / "jupyter_config_dir" / "labconfig"
    config.mkdir(parents=True)
    (config / "default_setting_overrides.json").write_text(json.dumps(_SETTINGS))
    work = home / "work"
    work.mkdir()
    port = free_port()
    options = [
        "--no-browser", "--allow-root", f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=",
        "--ServerApp.password=", "--ServerApp.disable_check_xsrf=True", f"--ServerApp.root_dir={work}",
        f"--{app}.expose_app_in_browser=True",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with started(
        [sys.executable, "-m", "jupyter", command, *options], environment(home), f"{url}/api", home / f"{command}.log"
    ):
        yield Lab(url, work, place)


@contextlib.contextmanager
def started(command: Sequence[str], env: Mapping[str, str], url: str, log: Path) -> Iterator[None]:
    """A server in a process of its own, in the folder of its log, from when it answers at a url to the end of the block."""
    with log.open("w") as said:
        process = subprocess.Popen(command, cwd=log.parent, env=env, stdout=said, stderr=subprocess.STDOUT)
        try:
            end = time.monotonic() + 60
            while not _answers(url):
                assert process.poll() is None and time.monotonic() < end, log.read_text()[-2000:]
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            try:
                process.wait(15)
            finally:
                process.kill()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=1).close()
    except urllib.error.HTTPError:
        return True  # it speaks, if only to refuse
    except OSError:
        return False
    return True


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
