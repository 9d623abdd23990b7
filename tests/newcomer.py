"""
A newcomer's way: README.md and the guides typed word for word, one after the other, in a fresh clone with a fresh environment.

    python -m tests.newcomer [--suite]

Every block of shell and Python of every page runs as it is written, in one bash that has nothing of this environment, so the
ports 8765, 8771, 8772 and 6379 must be free. What only Ctrl-C ends gets it after five seconds; a block that serves stops what
served before it. `make test` runs with --suite. Ends with status 1 at the first line that fails.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

from tests import pages
from tests.pages import ENDLESS, ROOT, Shell, shell

_SETS_UP_S = 1800.0
_SEEN = (
    'curl -sS -H "X-Playhead-Token: $PLAYHEAD_TOKEN" http://127.0.0.1:8765/api/events '
    """--json '{"type": "job_log", "jobId": "seen", "executionId": "X"}' >/dev/null"""
)
_FOLLOWED = "for event in client.follow("


class Newcomer:
    """Somebody who types."""

    def __init__(self, bash: Shell, *, with_suite: bool) -> None:
        self._bash, self._with_suite = bash, with_suite

    def read(self, page: Path) -> None:
        """Type all blocks of a page; its Python is one program, which is complete at its last block."""
        print(page.name, flush=True)
        found = pages.blocks(page)
        last = max((place for place, (language, _) in enumerate(found) if language == "python"), default=-1)
        for place, (language, text) in enumerate(found):
            if language == "sh":
                if "playhead serve" in text:
                    self._stop()
                for command in _commands(text):
                    self._type(command)
            elif place == last:
                self._python(pages.python(page))

    def _type(self, command: str) -> None:
        if command.startswith("make test") and not self._with_suite:
            return
        if command.startswith("playhead serve"):
            if "&" not in command:
                command = f"{command.partition('#')[0].rstrip()} &"  # a newcomer has a second terminal
            self._run(command)
            port = (re.findall(r"--port (\d+)", command) or ["8765"])[0]
            self._run(f"until curl -s http://127.0.0.1:{port}/readyz | grep -q '\"ok\"'; do sleep 0.2; done")
        elif command.startswith(ENDLESS):
            self._run(f"(sleep 2; {_SEEN}) &")
            self._run(command)
        else:
            self._run(command)

    def _stop(self) -> None:
        """Ctrl-C, in the terminal where a server runs."""
        self._run("kill $(jobs -pr) 2>/dev/null; wait; true")

    def _python(self, code: str) -> None:
        """A program; its last loop has no end, so it is interrupted once it has said something."""
        begun = time.monotonic()
        if _FOLLOWED in code:
            told = re.sub(r"^(    print\(event.*)$", r"\1\n    break", code, flags=re.M)
            code = told.replace(_FOLLOWED, 'client.publish({"type": "job_log", "jobId": "seen"})\n' + _FOLLOWED, 1)
        said = self._bash.run(f"python - <<'PYTHON'\n{code}\nPYTHON")
        print(f"   python, {code.count(chr(10))} lines, {time.monotonic() - begun:.1f} s {said.strip()[-100:]!r}", flush=True)

    def _run(self, command: str) -> None:
        begun = time.monotonic()
        said = self._bash.run(command, _SETS_UP_S if command.startswith(("make ", "pip ")) else 60)
        told = said.strip().splitlines()
        took = f"({time.monotonic() - begun:.1f} s)"
        print(f"   $ {command.partition(chr(10))[0]}  {took} {told[-1][:100] if told else ''}", flush=True)


def _commands(script: str) -> list[str]:
    """Its lines; what a here-document holds is one with the line that begins it."""
    found: list[str] = []
    until = ""
    for line in pages.lines(script):
        if until:
            found[-1] += f"\n{line}"
            until = "" if line == until else until
        else:
            found.append(line)
            until = (re.findall(r"<<'(\w+)'", line) or [""])[0]
    return found


def main() -> NoReturn:
    """Clone, and go through all pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", action="store_true", help="run `make test` too")
    args = parser.parse_args()
    own = str(Path(sys.executable).parent)
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / ROOT.name
        subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
        ours = ("PLAYHEAD_", "PYTHON", "VIRTUAL_ENV")
        env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        env["PATH"] = ":".join([*(one for one in env["PATH"].split(":") if one != own), "/usr/sbin"])
        env |= {"HOME": folder, "XDG_RUNTIME_DIR": folder}
        with shell(clone, env) as bash:
            newcomer = Newcomer(bash, with_suite=args.suite)
            for page in pages.PAGES:
                newcomer.read(clone / page.relative_to(ROOT))
    print("every line of README.md and the guides works as it is written")
    sys.exit(0)


if __name__ == "__main__":
    main()
