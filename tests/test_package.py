"""The wheel: what is in it, and that it works where nothing else of the project is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
TOKEN = "test-token-of-the-wheel"


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run a command to its end; its output, and a failure with all it said if it fails."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def tracked() -> list[str]:
    """The files of the checkout that git knows."""
    return [name for name in run("git", "ls-files", "-z", cwd=ROOT).split("\0") if name and (ROOT / name).is_file()]


def built(folder: Path, *, seconds_ago: int = 0) -> Path:
    """What a copy of the tracked files alone makes: a wheel and a source distribution, in a folder of its own."""
    copy = folder / "copy"
    for name in tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy / name)
        os.utime(copy / name, (time.time() - seconds_ago,) * 2)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", copy, cwd=copy)
    return folder / "dist"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the tracked files alone, by way of a source distribution."""
    (found,) = built(tmp_path_factory.mktemp("first")).glob("*.whl")
    return found


def test_a_build_is_reproducible(wheel: Path, tmp_path: Path) -> None:
    """The same files, elsewhere and older, make the same bytes, of the wheel and of the source distribution."""
    again = built(tmp_path, seconds_ago=86_400)
    first = {path.name: path.read_bytes() for path in wheel.parent.iterdir()}
    assert {path.suffix for path in wheel.parent.iterdir()} == {".whl", ".gz"}
    assert {path.name: path.read_bytes() for path in again.iterdir()} == first


class Installed(NamedTuple):
    """A virtual environment that has the wheel, and lends the dependencies of the environment that runs the suite."""

    home: Path
    env: dict[str, str]

    def program(self, name: str) -> Path:
        return self.home / "bin" / name


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """The wheel in a new environment; programs started there find no other program."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home / "env", symlinks=True, with_pip=False)
    python = home / "env" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", "--python", python)
    run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=home)
    ours = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip())
    theirs = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    # a .pth file adds folders and does not follow the .pth files in them, so the suite's editable install stays unseen
    (ours / "dependencies.pth").write_text("\n".join(theirs) + "\n")
    env = {"PATH": "", "HOME": str(home), "PLAYHEAD_RUNTIME_DIR": str(home / "runtime"), "PLAYHEAD_TOKEN": TOKEN}
    yield Installed(home / "env", env)


def test_the_wheel_holds_both_packages_and_nothing_else(wheel: Path) -> None:
    """`playhead` and `playhead_server`, typed, with licence and command; no tests, benchmarks or notebooks."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (facts,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
        points = archive.read(f"{facts}/entry_points.txt").decode()
        licence = archive.read(f"{facts}/licenses/LICENSE")
        about = archive.read(f"{facts}/METADATA").decode()
    assert {name.split("/")[0] for name in names} == {"playhead", "playhead_server", facts}
    assert {"playhead/py.typed", "playhead_server/py.typed"} <= set(names)
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert "playhead = playhead.cli:main" in points and "playhead = playhead_server.jupyter:tile" in points
    extras = ("server", "redis", "notebook", "analysis", "dask", "docs", "all", "test")
    assert all(f"Provides-Extra: {extra}\n" in about for extra in extras)
    assert [name for name in names if "test" in name.lower() or name.endswith((".ipynb", ".pyc"))] == []


def test_the_wheel_holds_every_module_and_the_front_end(wheel: Path) -> None:
    """Each tracked file of the packages is there as it is in the checkout; scripts and styles of the widgets among them."""
    homes = ("package/playhead/", "server/playhead_server/")
    expected = {name.split("/", 1)[1]: ROOT / name for name in tracked() if name.startswith(homes)}
    front = {name for name in expected if name.startswith("playhead/widgets/") and name.endswith((".js", ".css"))}
    assert {Path(name).suffix for name in front} == {".js", ".css"}
    with zipfile.ZipFile(wheel) as archive:
        missing = [name for name in expected if name not in archive.namelist()]
        assert missing == []
        assert [name for name, path in expected.items() if archive.read(name) != path.read_bytes()] == []


def test_every_module_of_the_wheel_imports(installed: Installed) -> None:
    """Each module of both packages, from the wheel, by an interpreter that ignores the checkout."""
    code = """
import importlib, pkgutil, playhead, playhead_server
count = 0
for package in (playhead, playhead_server):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.name.endswith("__main__"):
            module = importlib.import_module(found.name)
            assert module.__file__.startswith(package.__path__[0]), module.__file__
            count += 1
print(count, *playhead.__path__, *playhead_server.__path__)
"""
    count, *homes = run(installed.program("python"), "-I", "-c", code, cwd=installed.home, env=installed.env).split()
    assert int(count) > 30
    assert all(home.startswith(str(installed.home)) for home in homes)


def test_the_widgets_of_the_wheel_have_their_sources(installed: Installed) -> None:
    """Every exported widget has its script and its style, without node."""
    code = """
import playhead, anywidget
found = [getattr(playhead, name) for name in playhead.__all__]
found = [one for one in found if isinstance(one, type) and issubclass(one, anywidget.AnyWidget)]
for one in found:
    assert "export" in str(one._esm), one
    assert "--jp-" in str(one._css), one
print(*(one.__name__ for one in found))
"""
    names = run(installed.program("python"), "-I", "-c", code, cwd=installed.home, env=installed.env).split()
    assert {"ConnectionStatus", "LiveGrid", "ReplayPlayer"} <= set(names)


def test_the_command_of_the_wheel_serves(installed: Installed) -> None:
    """`playhead --help`, `version`, and `serve`, which answers and ends cleanly on SIGTERM."""
    command = installed.program("playhead")
    assert "serve" in run(command, "--help", cwd=installed.home, env=installed.env)
    (name,) = (installed.home / "lib").glob("python*/site-packages/playhead-*.dist-info")
    assert run(command, "version", cwd=installed.home, env=installed.env).strip() in name.name
    arguments = [command, "serve", "wheel.playhead", "--port", "0"]
    with subprocess.Popen(
        arguments, cwd=installed.home, env=installed.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            with urllib.request.urlopen(f"{url}/healthz", timeout=20) as answer:
                assert answer.status == 200
            request = urllib.request.Request(f"{url}/api/events", headers={"X-Playhead-Token": TOKEN})
            with urllib.request.urlopen(request, timeout=20) as answer:
                assert answer.status == 200
            server.send_signal(signal.SIGTERM)
            assert server.wait(20) == 0, "SIGTERM ends it cleanly"
        finally:
            server.kill()
    assert (installed.home / "wheel.playhead").is_dir()
    assert not (Path(installed.env["PLAYHEAD_RUNTIME_DIR"]) / "server.json").exists()
