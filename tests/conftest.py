"""What tests share: a server in this process, and one in its own that can be killed."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from playhead_server.server import Running, Settings, running

if TYPE_CHECKING:
    from tests.shared_log import Redis

TOKEN = "test-token-of-the-suite"


@pytest.fixture(autouse=True)
def own_runtime_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Discovery and spill files of a test are its own."""
    monkeypatch.setenv("PLAYHEAD_RUNTIME_DIR", str(tmp_path / "runtime"))
    for name in ("PLAYHEAD_TOKEN", "PLAYHEAD_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    """A real server on a free port."""
    with running(Settings(recording=tmp_path / "log.playhead", port=0, token=TOKEN, heartbeat_s=0.3)) as found:
        yield found


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    """A real Redis on a free port."""
    from tests.shared_log import Redis

    found = Redis(tmp_path / "redis")
    yield found
    found.thaw()
    found.kill()


def free_port() -> int:
    """A port that nothing listens on at this moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something is so, for a limited time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so within {seconds:g} s"
        time.sleep(0.005)


def playhead(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command of the command line to its end."""
    command = [sys.executable, "-m", "playhead", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, **options)


class Process:
    """`playhead serve` in a process of its own, on the same port every time."""

    def __init__(self, recording: Path, port: int, *options: str, **started: Any) -> None:
        self.recording, self.port, self._options, self._started = recording, port, options, started
        self.start()

    def start(self) -> None:
        """Start it and wait for its first line, the url."""
        serve = ["serve", str(self.recording), "--port", str(self.port), *self._options]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "playhead", *serve], stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PLAYHEAD_TOKEN": TOKEN}, **({"stderr": subprocess.PIPE} | self._started),
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://"), self.process.communicate()
        self.port = int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.communicate()

    def end(self) -> tuple[int, str, str]:
        """SIGTERM; its exit status, and what it still had to say on stdout and stderr."""
        self.process.terminate()
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


@contextlib.contextmanager
def process(recording: Path, *options: str, **started: Any) -> Iterator[Process]:
    """A server process, ended with the block."""
    found = Process(recording, 0, *options, **started)
    try:
        yield found
    finally:
        found.kill()
