"""
The directory of a recording, its format and who has it open::

    night.playhead/
        recording.json                          {"format": 4, "epoch": "k3f9", "created": "…"}
        lock                                    held with flock while open; {"pid": …, "url": …}
        journal.0, journal.1                    while it is open: what was stored last (journal.py)
        segments.json                           which segments there are: the catalogue (catalogue.py)
        segments/000000000000250001.duckdb      events from that seq on, as they were appended
        segments/000000000000000001-1.duckdb    a sealed segment, instead of that (packed.py)
        segments/000000000000000001.index.npz   where it holds what (index.py); made again when it is missing
        segments/000000000000000001.states.arrow  who was active when (keyframes.py); made again when it is missing
        archive/000000000000000001-1.parquet    an old segment, instead of those (archive.py)

Format 1 had no archive and no catalogue, format 2 did not pack, format 3 had no journal; they are migrated when they are
opened. A second process cannot open the files of the first (DuckDB allows one), so it is told who has them. Where nothing
can be written it is opened to read only, by any number of processes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from playhead.errors import RecordingDamaged, RecordingInUse, RecordingTooNew
from playhead.times import now, time_text

FORMAT = 4
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}


def new_epoch() -> str:
    """An id for a log."""
    return "".join(secrets.choice(_LETTERS) for _ in range(6))


def write_whole(path: Path, text: str) -> None:
    """Write a text as a file, whole or not at all."""
    with whole(path) as file:
        file.write(text.encode())


@contextlib.contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write that appears whole or not at all when the block ends, also after a power cut."""
    draft = path.with_suffix(".tmp")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)
    sync(path.parent)


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Directory:
    """
    The files of one recording, locked for this process until `close`.

    Attributes:
        path: Where it is.
        epoch: The id of its log.
        is_read_only: Nothing can be written there, so nothing is.
    """

    def __init__(self, path: str | os.PathLike[str], *, create: bool, url: str | None) -> None:
        self.path = Path(path).expanduser().absolute()
        self._about = self.path / "recording.json"
        if not self._about.exists():
            self._check_new(create)
        self._lock, self.is_read_only = self._open()
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

    @property
    def archive(self) -> Path:
        """Where the Parquet files of old segments are, and nothing else."""
        return self.path / "archive"

    def announce(self, url: str | None) -> None:
        """Write who has the recording into the lock, for the error that a second process gets."""
        if self.is_read_only:
            return
        text = json.dumps({"pid": os.getpid(), "url": url}).encode()
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, text, 0)

    def adopt(self, epoch: str) -> None:
        """Have this be the log of another epoch."""
        self._write_about(json.loads(self._about.read_text()) | {"epoch": epoch})
        self.epoch = epoch

    def close(self) -> None:
        """Release the lock, also where a forked child holds it with us."""
        if self._lock >= 0:
            if not self.is_read_only:
                os.ftruncate(self._lock, 0)
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            self.abandon()

    def abandon(self) -> None:
        """Let go of the lock's handle and leave the lock, as a forked child does with its parent's."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _check_new(self, create: bool) -> None:
        begun = {"lock", "segments", "archive", "recording.tmp"}  # by a process that was killed
        if self.path.is_dir() and any(item.name not in begun for item in self.path.iterdir()):
            raise RecordingDamaged(str(self.path), "it holds other files and no recording.json; name an empty place")
        if self.path.exists() and not self.path.is_dir():
            raise RecordingDamaged(str(self.path), "it is a file; a recording is a directory")
        if not create:
            raise RecordingDamaged(str(self.path), "there is no recording; check the path")

    def _open(self) -> tuple[int, bool]:
        """A handle to lock by, and whether it is to read only."""
        lock = self.path / "lock"
        try:
            self.segments.mkdir(parents=True, exist_ok=True)
            self.archive.mkdir(exist_ok=True)
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)  # who may only read must see it held
            if all(os.access(path, os.W_OK) for path in (self.path, self.archive, *self._written())):
                return handle, False
            os.close(handle)
        except OSError as error:
            if error.errno not in _READ_ONLY or not self._about.exists():
                raise RecordingDamaged(str(self.path), f"{error.strerror or error}: {error.filename}") from None
        try:
            return os.open(lock if os.access(lock, os.R_OK) else self._about, os.O_RDONLY | os.O_CLOEXEC), True
        except OSError as error:
            raise RecordingDamaged(str(self.path), f"{error.strerror or error}: {error.filename}") from None

    def _written(self) -> Iterator[Path]:
        """The files that are written to where they are."""
        yield from self.segments.glob("*.duckdb*")
        yield from self.path.glob("journal.*")

    def _take(self, url: str | None) -> None:
        try:
            fcntl.flock(self._lock, (fcntl.LOCK_SH if self.is_read_only else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                owner = json.loads(os.pread(self._lock, 4096, 0) or b"{}")
            except ValueError:  # read between the owner's truncate and write
                owner = {}
            raise RecordingInUse(str(self.path), owner.get("url"), owner.get("pid")) from None
        self.announce(url)

    def _read_about(self) -> str:
        if not self._about.exists():
            epoch = new_epoch()
            self._write_about({"epoch": epoch, "created": time_text(now())})
            return epoch
        try:
            about = json.loads(self._about.read_text())
            found, epoch = int(about["format"]), str(about["epoch"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecordingDamaged(str(self.path), f"recording.json cannot be read ({error})") from None
        if found > FORMAT:
            raise RecordingTooNew(str(self.path), found, FORMAT)
        if found < FORMAT and not self.is_read_only:  # its segments are read as they are
            self._write_about(about)
        return epoch

    def _write_about(self, about: dict[str, object]) -> None:
        write_whole(self._about, json.dumps({"format": FORMAT} | about | {"format": FORMAT}) + "\n")
