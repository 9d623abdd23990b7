"""What tests share: a server in this process, and one in its own that can be killed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from playhead_server.server import Running, Settings, running

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


class Process:
    """`playhead serve` in a process of its own, on the same port every time."""

    def __init__(self, recording: Path, port: int) -> None:
        self.recording, self.port = recording, port
        self.start()

    def start(self) -> None:
        """Start it and wait for its first line, the url."""
        command = [sys.executable, "-m", "playhead", "serve", str(self.recording), "--port", str(self.port)]
        env = os.environ | {"PLAYHEAD_TOKEN": TOKEN}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://"), self.process.communicate()[1]
        self.port = int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def process(recording: Path) -> Iterator[Process]:
    """A server process, ended with the block."""
    found = Process(recording, 0)
    try:
        yield found
    finally:
        found.kill()
