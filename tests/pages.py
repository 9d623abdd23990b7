"""README.md and the guides as programs: what is named in them, the blocks they hold, and a shell that goes through them."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
GUIDES = [
    ROOT / "docs" / f"{name}.md"
    for name in re.findall(r"^((?:using|running)/\w+)$", (ROOT / "docs" / "index.md").read_text(), re.M)
]
PAGES = [ROOT / "README.md", *GUIDES]  # in the order in which they are read
TEXT = "\n".join(page.read_text() for page in PAGES)
ENDLESS = ("playhead tail", "curl -N")  # what only Ctrl-C ends


def blocks(page: Path, language: str | None = None) -> list[tuple[str, str]]:
    """The fenced blocks of a page, or those in one language: its name and the text."""
    found = re.findall(r"^```(\S*)\n(.*?)^```$", page.read_text(), re.M | re.S)
    return [(name, text) for name, text in found if language in (None, name)]


def python(page: Path) -> str:
    """All Python of a page, one program."""
    return "".join(text for _, text in blocks(page, "python"))


def lines(script: str) -> list[str]:
    """The commands of a block, without what is only said."""
    return [line for line in script.splitlines() if line and not line.startswith("#")]


class Shell:
    """A bash that is typed into, as a reader would."""

    def __init__(self, cwd: Path, env: dict[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash"], cwd=cwd, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    def run(self, line: str, limit_s: float = 60) -> str:
        """What a line says; what has no end is interrupted after some seconds. Raises AssertionError where it fails."""
        endless = line.startswith(ENDLESS)
        mark = uuid.uuid4().hex
        typed = f"timeout -s INT 5 {line}" if endless else line
        assert self._bash.stdin is not None and self._bash.stdout is not None
        self._bash.stdin.write(f"{typed}\necho {mark}=$?\n".encode())
        self._bash.stdin.flush()
        said, end = "", time.monotonic() + limit_s
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._bash.stdout, selectors.EVENT_READ)
            while (ended := re.search(rf"{mark}=(\d+)\n", said)) is None:
                assert time.monotonic() < end, f"{line} goes on after {limit_s:.0f} s: {said}"
                if waiting.select(1):
                    more = os.read(self._bash.stdout.fileno(), 65536)
                    assert more, f"{line}: the shell ended: {said}"
                    said += more.decode(errors="replace")
        said = said[: ended.start()]
        assert said.strip() if endless else ended[1] == "0", f"{line} ended with {ended[1]}: {said}"
        return said

    def close(self) -> None:
        """End it and all that was started in it."""
        with suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._bash.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.communicate()


@contextmanager
def shell(cwd: Path, env: dict[str, str]) -> Iterator[Shell]:
    """A bash, and the end of all that was started in it."""
    found = Shell(cwd, env)
    try:
        yield found
    finally:
        found.close()
