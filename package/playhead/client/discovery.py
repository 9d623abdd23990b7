"""
How `connect()` finds the local server: a file that only its owner can read, written by the server.

``server.json``, mode 0600: ``{"url": …, "token": …, "recording": …, "pid": …}`` in PLAYHEAD_RUNTIME_DIR, else
XDG_RUNTIME_DIR/playhead, else ~/.local/share/playhead.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple


class Found(NamedTuple):
    """A server that says it runs."""

    url: str
    token: str
    recording: str
    pid: int

    def __repr__(self) -> str:
        return f"<server {self.url}>"


def runtime_dir() -> Path:
    """Where this user's playhead keeps what lives between processes; made when missing."""
    told = os.environ.get("PLAYHEAD_RUNTIME_DIR")
    xdg = os.environ.get("XDG_RUNTIME_DIR")
    if told:
        place = Path(told)
    elif xdg and Path(xdg).is_dir():
        place = Path(xdg) / "playhead"
    else:
        place = Path.home() / ".local" / "share" / "playhead"
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    return place


def write(url: str, token: str, recording: str, pid: int) -> None:
    """Say that a server runs; readable by this user alone from its first byte."""
    file = runtime_dir() / "server.json"
    draft = file.with_suffix(f".{pid}.tmp")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as out:
        json.dump({"url": url, "token": token, "recording": recording, "pid": pid}, out)
    draft.rename(file)


def read() -> Found | None:
    """The local server, if one runs and this user may know of it."""
    try:
        fields = json.loads((runtime_dir() / "server.json").read_text())
        found = Found(str(fields["url"]), str(fields["token"]), str(fields["recording"]), int(fields["pid"]))
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):  # RuntimeError: a user without a home
        return None
    try:
        os.kill(found.pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass  # it runs, as somebody else
    return found


def remove(pid: int) -> None:
    """Take the file away, if it is this server's."""
    found = read()
    if found is not None and found.pid == pid:
        (runtime_dir() / "server.json").unlink(missing_ok=True)
