"""
The segments of a recording: one DuckDB file each, attached to one in-memory DuckDB.

The newest is appended to; at ``segment_events`` it is sealed and checkpointed in the background, because a checkpoint
of the file being written blocks its commits for its whole length. Readers hold the segments they read
(`Segments.held`), so that a dropped one is detached and removed only after the last of them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import duckdb

from playhead.columns import TABLE
from playhead.errors import RecordingDamaged
from playhead.recording.directory import Directory

_SETTINGS = (
    "SET threads = 2",
    "SET wal_autocheckpoint = '100GB'",
    "SET auto_checkpoint_skip_wal_threshold = 1000000000000",
    "SET enable_progress_bar = false",
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
            with self._lock:
                for one in found:
                    one.readers -= 1
                gone = [one for one in found if one.is_dropped and not one.readers]
            for one in gone:
                self._remove(one)

    def rotate(self) -> None:
        """Begin the next segment and seal the last; the writer thread only."""
        sealed = self.newest
        segment = self._attach(sealed.last + 1)
        self._directory.sync()
        with self._lock:
            self._all.append(segment)
        self._background.submit(self._seal, sealed)

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
        """Finish what is sealed and close the files."""
        self._background.shutdown(wait=True)
        self.db.close()

    def _attach(self, first: int) -> Segment:
        segment = Segment(first)
        file = str(self._directory.segments / f"{first:018d}.duckdb").replace("'", "''")
        columns = ", ".join(f"{name} {kind}" for name, kind in TABLE.items())
        db = self.db.cursor()
        db.execute(f"ATTACH IF NOT EXISTS '{file}' AS s{first}")
        db.execute(f"CREATE TABLE IF NOT EXISTS {segment.table} ({columns})")
        self.measure(segment)
        return segment

    def _seal(self, segment: Segment) -> None:
        with contextlib.suppress(duckdb.Error):  # dropped meanwhile, or the disk is full: its WAL still holds all of it
            self.db.cursor().execute(f"CHECKPOINT s{segment.first}")

    def _remove(self, segment: Segment) -> None:
        name = f"s{segment.first}"
        with contextlib.suppress(duckdb.Error):
            self.db.cursor().execute(f"DETACH {name}")
        for suffix in (".duckdb", ".duckdb.wal"):
            (self._directory.segments / f"{segment.first:018d}{suffix}").unlink(missing_ok=True)
        self._directory.sync()
