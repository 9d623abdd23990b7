"""
Events that are not with the server yet, on disk: an NDJSON file a process, locked by its owner, read from its front.

When an owner is dead its lock is free, and the next publisher to the same server adopts what is left. Event ids make
sending again harmless, so how far a file was sent is not written down.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from playhead.client.discovery import runtime_dir
from playhead.events import NewEvent

_encode = msgspec.json.Encoder().encode
_PIECE = 2**20


def wire(event: NewEvent) -> bytes:
    """The event as it is published."""
    fields = {
        "id": event.id, "type": event.type, "timestamp": event.timestamp, "executionId": event.execution_id,
        "batchId": event.batch_id, "jobId": event.job_id, "organizationId": event.organization_id, "data": event.data,
    }  # fmt: skip
    return _encode(fields)


class Spill:
    """The file of this process for one server. Not thread-safe: its publisher's lock guards it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._file: int | None = None
        self._path: Path | None = None
        self._sent = 0  # bytes
        self._size = 0

    @property
    def is_empty(self) -> bool:
        """Whether everything in it was sent."""
        return self._sent >= self._size

    def append(self, lines: list[bytes]) -> None:
        """Add events, all or none; they survive this process when this returns. Raises OSError."""
        if self._file is None:
            path = _folder() / f"{_prefix(self._url)}-{os.getpid()}-{os.urandom(4).hex()}.ndjson"
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._path = path
            fcntl.flock(self._file, fcntl.LOCK_EX)
        text = memoryview(b"".join(line + b"\n" for line in lines))
        place = self._size
        try:
            while text:
                written = os.pwrite(self._file, text, place)
                text, place = text[written:], place + written
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size = place

    def front(self, most: int, most_bytes: int) -> list[bytes]:
        """The next events that were not sent, at least one where there is one."""
        if self._file is None or self.is_empty:
            return []
        size, left = min(most_bytes, _PIECE), self._size - self._sent
        while True:
            lines = os.pread(self._file, min(size, left), self._sent).split(b"\n")[:-1]  # the last is empty or cut
            if lines:
                return lines[:most]
            if size >= left:  # somebody cut the file short
                self.clear()
                return []
            size *= 2

    def drop(self, lines: list[bytes]) -> None:
        """These, at the front, are done with."""
        self._sent += sum(len(line) + 1 for line in lines)
        if self.is_empty:
            self.clear()

    def clear(self) -> None:
        """Remove the file."""
        if self._file is not None and self._path is not None:
            self._path.unlink(missing_ok=True)
            self.release()

    def release(self) -> None:
        """Let go of the file and leave it, as a forked child does with its parent's."""
        if self._file is not None:
            os.close(self._file)
        self._file = self._path = None
        self._sent = self._size = 0

    def adopt(self) -> None:
        """Move what dead processes left for this server into this process's file. Raises OSError."""
        for path in sorted(_folder().glob(f"{_prefix(self._url)}-*.ndjson")):
            if path == self._path:
                continue
            with contextlib.suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.exists():  # else adopted by another between the two calls
                    for lines in _whole(file.fileno()):
                        self.append(lines)
                    path.unlink(missing_ok=True)


def _folder() -> Path:
    told = os.environ.get("PLAYHEAD_SPILL_DIR")
    folder = Path(told) if told else runtime_dir() / "spill"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _prefix(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def _whole(file: int) -> Iterator[list[bytes]]:
    """A file's lines that are whole, piece by piece: what the crash cut was never promised."""
    rest = b""
    while piece := os.read(file, _PIECE):
        *lines, rest = (rest + piece).split(b"\n")
        yield [line for line in lines if line.startswith(b"{") and line.endswith(b"}")]
