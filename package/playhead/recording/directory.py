"""
The directory of a recording, its format and who has it open::

    night.playhead/
        recording.json                          {"format": 1, "epoch": "k3f9", "created": "…"}
        lock                                    held with flock while open; {"pid": …, "url": …}
        segments/000000000000000001.duckdb      events from that seq on; the newest is appended to
        segments/000000000000000001.index.npz   where it holds what, of a sealed one; made again when it is missing

A second process cannot open the files of the first (DuckDB allows one), so it is told who has them.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from pathlib import Path

from playhead.errors import RecordingDamaged, RecordingInUse, RecordingTooNew
from playhead.times import now, time_text

FORMAT = 1
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"


class Directory:
    """The files of one recording, locked for this process until `close`."""

    def __init__(self, path: str | os.PathLike[str], *, create: bool, url: str | None) -> None:
        self.path = Path(path).expanduser().absolute()
        self._about = self.path / "recording.json"
        if not self._about.exists():
            self._check_new(create)
        try:
            self.segments.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RecordingDamaged(str(self.path), f"{error.strerror or error}: {error.filename}") from None
        try:
            self._take(url)
            self.epoch = self._read_about()
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def segments(self) -> Path:
        """Where the segment files are."""
        return self.path / "segments"

    def announce(self, url: str | None) -> None:
        """Write who has the recording into the lock, for the error that a second process gets."""
        text = json.dumps({"pid": os.getpid(), "url": url}).encode()
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, text, 0)

    def close(self) -> None:
        """Release the lock, also where a forked child holds it with us."""
        if self._lock >= 0:
            os.ftruncate(self._lock, 0)
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            self.abandon()

    def abandon(self) -> None:
        """Let go of the lock's handle and leave the lock, as a forked child does with its parent's."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def sync(self) -> None:
        """Make the names of new and removed segments durable."""
        handle = os.open(self.segments, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _check_new(self, create: bool) -> None:
        if self.path.is_dir() and any(item.name not in {"lock", "segments"} for item in self.path.iterdir()):
            raise RecordingDamaged(str(self.path), "it holds other files and no recording.json; name an empty place")
        if self.path.exists() and not self.path.is_dir():
            raise RecordingDamaged(str(self.path), "it is a file; a recording is a directory")
        if not create:
            raise RecordingDamaged(str(self.path), "there is no recording; check the path")

    def _take(self, url: str | None) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                owner = json.loads(os.pread(self._lock, 4096, 0) or b"{}")
            except ValueError:  # read between the owner's truncate and write
                owner = {}
            raise RecordingInUse(str(self.path), owner.get("url"), owner.get("pid")) from None
        self.announce(url)

    def _read_about(self) -> str:
        if not self._about.exists():
            epoch = "".join(secrets.choice(_LETTERS) for _ in range(6))
            text = json.dumps({"format": FORMAT, "epoch": epoch, "created": time_text(now())})
            draft = self._about.with_suffix(".tmp")
            with draft.open("w") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            draft.rename(self._about)
            return epoch
        try:
            about = json.loads(self._about.read_text())
            found, epoch = int(about["format"]), str(about["epoch"])
        except (ValueError, KeyError, TypeError) as error:
            raise RecordingDamaged(str(self.path), f"recording.json cannot be read ({error})") from None
        if found > FORMAT:
            raise RecordingTooNew(str(self.path), found, FORMAT)
        return epoch
