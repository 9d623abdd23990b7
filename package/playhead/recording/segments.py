"""
The segments of a recording: one DuckDB file each, attached to one in-memory DuckDB.

The newest is appended to; at ``segment_events`` it is sealed and checkpointed in the background, because a checkpoint
of the file being written blocks its commits for its whole length. Until that has worked its write-ahead log holds the
events just as durably; where there is no room for it, it is tried again at the next rotation or sweep. Readers hold the
segments they read (`Segments.held`), so that a dropped one is detached and removed only after the last of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb

from playhead.columns import TABLE
from playhead.errors import RecordingDamaged
from playhead.recording.directory import Directory
from playhead.recording.index import Index, LiveIndex, SealedIndex

_SPARE = 8 * 2**20  # bytes that a checkpoint must leave free
_REVIVE_S = 10.0
_log = logging.getLogger("playhead.recording")
_SETTINGS = (
    "SET threads = 2",
    "SET wal_autocheckpoint = '100GB'",
    "SET auto_checkpoint_skip_wal_threshold = 1000000000000",
    "SET enable_progress_bar = false",
    "PRAGMA disable_checkpoint_on_shutdown",  # a forked child that ends must not write to its parent's files
)


class Segment:
    """One file: the name it is attached by, the range of seq it was given, and how many rows are left."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.last = first - 1
        self.oldest = first
        self.rows = 0
        self.readers = 0
        self.is_dropped = False
        self.index: Index | None = None  # None where it is not made yet: everything may be anywhere in it

    @property
    def table(self) -> str:
        """SQL name of its events."""
        return f"s{self.first}.events"


class Segments:
    """Every segment of a recording, oldest first; the last one is being written."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._background = ThreadPoolExecutor(1, "playhead-seal")
        try:
            self.db = duckdb.connect(config={"temp_directory": str(directory.path / "tmp")})
            for setting in _SETTINGS:
                self.db.execute(setting)
            self._all = [self._attach(int(file.stem)) for file in sorted(directory.segments.glob("*.duckdb"))]
            if not self._all:
                self._all = [self._attach(1)]
            for segment in self._all[:-1]:
                segment.index = SealedIndex.read(self._file(segment, ".index.npz"), segment.first, segment.last)
            self.newest.index = self.live = LiveIndex.of(self.db.cursor(), self.newest.table)
            self.seal()
        except (duckdb.Error, OSError, ValueError) as error:
            raise RecordingDamaged(str(directory.path), str(error).splitlines()[0]) from error

    @property
    def newest(self) -> Segment:
        """The segment that is appended to."""
        return self._all[-1]

    @property
    def head(self) -> int:
        """The newest seq ever given."""
        return self._all[-1].last

    @property
    def oldest(self) -> int:
        """The oldest seq still held; head + 1 when none is."""
        with self._lock:
            return min((segment.oldest for segment in self._all if segment.rows), default=self.head + 1)

    @property
    def count(self) -> int:
        """How many files there are."""
        return len(self._all)

    def rows(self) -> int:
        """How many events are held."""
        with self._lock:
            return sum(segment.rows for segment in self._all)

    @contextlib.contextmanager
    def held(self, first: int = 0, last: int = 2**62) -> Iterator[list[Segment]]:
        """The segments that hold anything of ``first..last``, kept in place while the block runs."""
        with self._lock:
            found = [one for one in self._all if one.rows and one.last >= first and one.oldest <= last]
            for one in found:
                one.readers += 1
        try:
            yield found
        finally:
            self._let_go(found)

    def _let_go(self, segments: list[Segment]) -> None:
        with self._lock:
            for one in segments:
                one.readers -= 1
            gone = [one for one in segments if one.is_dropped and not one.readers]
        for one in gone:
            self._remove(one)

    def rotate(self) -> None:
        """Begin the next segment and seal the last; the writer thread only."""
        segment = self._attach(self.newest.last + 1)
        self._directory.sync()
        segment.index = self.live = LiveIndex()
        with self._lock:
            self._all.append(segment)
        self.seal()

    def seal(self) -> None:
        """In the background, index and checkpoint every segment that is not written any more and has not been yet."""
        for segment in self.all()[:-1]:
            if not isinstance(segment.index, SealedIndex):
                self._background.submit(self._seal_index, segment)
            if self._file(segment, ".duckdb.wal").exists():
                self._background.submit(self._checkpoint, segment)

    def drop(self, segment: Segment) -> None:
        """Forget a segment; its file goes when nobody reads it. Never the newest."""
        with self._lock:
            self._all.remove(segment)
            segment.is_dropped = True
            if segment.readers:
                return
        self._remove(segment)

    def all(self) -> list[Segment]:
        """The segments of this moment, oldest first."""
        with self._lock:
            return list(self._all)

    def measure(self, segment: Segment) -> None:
        """Read a segment's rows and range from its file."""
        row = self.db.cursor().execute(f"SELECT count(*), min(seq), max(seq) FROM {segment.table}").fetchall()[0]
        segment.rows = row[0]
        segment.oldest = row[1] if row[1] is not None else segment.first
        segment.last = max(segment.last, row[2] if row[2] is not None else segment.first - 1)

    def close(self) -> None:
        """Finish what is sealed and close the files, the newest checkpointed so that it opens at once."""
        self._background.shutdown(wait=True)
        self._checkpoint(self.newest)
        self.db.close()

    def abandon(self) -> None:
        """In a forked child: the files are the parent's; never touch them, not even by a destructor."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.db))

    def _attach(self, first: int) -> Segment:
        segment = Segment(first)
        self._attach_file(segment)
        columns = ", ".join(f"{name} {kind}" for name, kind in TABLE.items())
        self.db.cursor().execute(f"CREATE TABLE IF NOT EXISTS {segment.table} ({columns})")
        self.measure(segment)
        return segment

    def _attach_file(self, segment: Segment) -> None:
        file = str(self._file(segment, ".duckdb")).replace("'", "''")
        self.db.cursor().execute(f"ATTACH IF NOT EXISTS '{file}' AS s{segment.first}")

    def _file(self, segment: Segment, suffix: str) -> Path:
        return self._directory.segments / f"{segment.first:018d}{suffix}"

    def _seal_index(self, segment: Segment) -> None:
        """Its index as arrays, here and on disk; without the file it is made again when the recording is opened."""
        try:
            live = segment.index if isinstance(segment.index, LiveIndex) else None
            if live is None:
                with self._lock:
                    if segment.is_dropped:
                        return
                    segment.readers += 1
                try:
                    live = LiveIndex.of(self.db.cursor(), segment.table)
                finally:
                    self._let_go([segment])
            sealed = live.seal(segment.first)
            segment.index = sealed
            sealed.save(self._file(segment, ".index.npz"))
            if segment.is_dropped:
                self._file(segment, ".index.npz").unlink(missing_ok=True)
        except (duckdb.Error, OSError) as error:
            _log.warning("the index of segment %d was not written: %s", segment.first, error)

    def _checkpoint(self, segment: Segment) -> None:
        log = self._file(segment, ".duckdb.wal")
        if segment.is_dropped or not log.exists():
            return
        if shutil.disk_usage(log.parent).free < log.stat().st_size + _SPARE:
            return
        try:
            self.db.cursor().execute(f"CHECKPOINT s{segment.first}")
        except duckdb.Error as error:
            if not segment.is_dropped:
                _log.warning("segment %d could not be checkpointed, its log still holds it: %s", segment.first, error)
                self._revive(segment)

    def _revive(self, segment: Segment) -> None:
        """A checkpoint that fails leaves the file refusing every query until it is attached again."""
        end = time.monotonic() + _REVIVE_S
        while time.monotonic() < end:
            with self._lock:  # nobody begins to read meanwhile
                if segment.is_dropped:
                    return
                if not segment.readers:
                    self.db.cursor().execute(f"DETACH s{segment.first}")
                    self._attach_file(segment)
                    return
            time.sleep(0.02)
        _log.error("segment %d cannot be read until the recording is opened again", segment.first)

    def _remove(self, segment: Segment) -> None:
        with contextlib.suppress(duckdb.Error):
            self.db.cursor().execute(f"DETACH s{segment.first}")
        for suffix in (".duckdb", ".duckdb.wal", ".index.npz"):
            self._file(segment, suffix).unlink(missing_ok=True)
        self._directory.sync()
