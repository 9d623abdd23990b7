"""
Events that could not be sent yet, on disk: an NDJSON file a process, locked by its owner.

When an owner is dead its lock is free, and the next publisher to the same server adopts the file. Event ids make sending
again harmless.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

import msgspec

from playhead.client.discovery import runtime_dir
from playhead.events import NewEvent

_encode = msgspec.json.Encoder().encode


def wire(event: NewEvent) -> bytes:
    """The event as it is published."""
    fields = {
        "id": event.id, "type": event.type, "timestamp": event.timestamp, "executionId": event.execution_id,
        "batchId": event.batch_id, "jobId": event.job_id, "organizationId": event.organization_id, "data": event.data,
    }  # fmt: skip
    return _encode(fields)


class Spill:
    """The file of this process for one server, and those that dead processes left."""

    def __init__(self, url: str) -> None:
        told = os.environ.get("PLAYHEAD_SPILL_DIR")
        self._folder = Path(told) if told else runtime_dir() / "spill"
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._prefix = hashlib.sha256(url.encode()).hexdigest()[:16]
        self._file: int | None = None
        self._path: Path | None = None

    def append(self, lines: list[bytes]) -> None:
        """Add events; they are in the file when this returns."""
        if self._file is None:
            self._path = self._folder / f"{self._prefix}-{os.getpid()}-{os.urandom(4).hex()}.ndjson"
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX)
        os.write(self._file, b"".join(line + b"\n" for line in lines))

    def clear(self) -> None:
        """All of it was sent."""
        if self._file is not None and self._path is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = self._path = None

    def adopt(self) -> list[bytes]:
        """What dead processes left for this server, moved into this process's file."""
        found: list[bytes] = []
        for path in sorted(self._folder.glob(f"{self._prefix}-*.ndjson")):
            if path == self._path:
                continue
            try:
                handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                continue
            text = path.read_bytes() if path.exists() else b""
            lines = text.split(b"\n")[:-1]  # a line without its end was cut by the crash
            if lines:
                self.append(lines)
                found += lines
            path.unlink(missing_ok=True)
            os.close(handle)
        return found
