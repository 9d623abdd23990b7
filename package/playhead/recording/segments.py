"""
The segments of a recording, oldest first, and who reads them.

The newest is appended to; at ``segment_events`` it is sealed, and what is left to do for it is done in the background
(`upkeep.py`). Readers hold the segments they read (`Segments.held`), so that one that was dropped, or replaced by its
archive, is let go of only after the last of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from playhead.errors import RecordingDamaged
from playhead.recording import archive, files
from playhead.recording.catalogue import Catalogue, Missing
from playhead.recording.directory import Directory, sync
from playhead.recording.index import Index, LiveIndex, SealedIndex

if TYPE_CHECKING:
    from playhead.recording.keyframes import Keyframes

_LEAP = 1_000_000_000  # where the newest segment is lost, nobody knows how far it went: numbers go on behind that
_REVIVE_S = 10.0
_log = logging.getLogger("playhead.recording")


class Segment:
    """
    A range of seq and where its events are.

    Attributes:
        first, last: The range it was given.
        oldest, rows: The oldest seq and the number of events that are left.
        file: Its DuckDB file, or its Parquet file when it is archived.
        table: SQL of its events.
        index: Where it holds what; None where it is not made yet: everything may be anywhere in it.
        states: Who was active when; None where it is not made yet.
    """

    def __init__(self, first: int, file: Path | None, table: str) -> None:
        self.first, self.file, self.table = first, file, table
        self.last = first - 1
        self.oldest = first
        self.rows = 0
        self.readers = 0
        self.is_dropped = False
        self.index: Index | None = None
        self.states: Keyframes | None = None

    @property
    def is_archived(self) -> bool:
        """Whether it is a Parquet file."""
        return self.file is not None and self.file.suffix == ".parquet"


class Segments:
    """
    Every segment of a recording; the last one is being written.

    Attributes:
        db: The DuckDB that all of them are seen by.
        version: How often something was taken away; who reads in several steps begins again when it has changed.
        missing: What should be there and is not, or cannot be read.
        export_epoch: The epoch that an exported file names.
    """

    def __init__(self, directory: Directory | None, path: Path) -> None:
        self._directory, self.path = directory, path
        self.is_read_only = directory is None or directory.is_read_only
        self._lock = threading.Lock()
        self._leaving: list[Segment] = []  # dropped while somebody reads them
        self.when_sealed: Callable[[], None] = lambda: None  # called when there is one more to take care of
        self.missing: list[Missing] = []
        self.version = 0
        self.export_epoch = "export"
        try:
            self.db = files.connect(path / "tmp" if directory is not None and not self.is_read_only else None)
            self._all = self._open_all(directory) if directory is not None else [self._open_export(path)]
        except (duckdb.Error, OSError, ValueError) as error:
            raise RecordingDamaged(str(path), str(error).splitlines()[0]) from error
        newest = self._all[-1]
        self.live = LiveIndex.of(self.db.cursor(), newest.table)
        newest.index = self.live
        for gone in self.missing:
            _log.warning("%s: %s", path, gone)

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
        """How many there are."""
        return len(self._all)

    def rows(self) -> int:
        """How many events are held."""
        with self._lock:
            return sum(segment.rows for segment in self._all)

    def all(self) -> list[Segment]:
        """The segments of this moment, oldest first."""
        with self._lock:
            return list(self._all)

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

    @contextlib.contextmanager
    def holding(self, segment: Segment) -> Iterator[bool]:
        """One segment kept in place; False where it was dropped before."""
        with self._lock:
            is_there = not segment.is_dropped
            segment.readers += is_there
        try:
            yield is_there
        finally:
            if is_there:
                self._let_go([segment])

    def _let_go(self, segments: Iterable[Segment]) -> None:
        with self._lock:
            for one in segments:
                one.readers -= 1
            gone = [one for one in segments if one.is_dropped and not one.readers]
        for one in gone:
            self._remove(one)

    def rotate(self) -> None:
        """Begin the next segment; the writer thread only."""
        segment = self._open_file(self.newest.last + 1)
        sync(self._segments_folder)
        segment.index = self.live = LiveIndex()
        with self._lock:
            self._all.append(segment)
        self._note()
        self.when_sealed()

    def drop(self, segments: list[Segment]) -> None:
        """Forget segments; a file goes when nobody reads it. Never the newest."""
        with self._lock:
            for segment in segments:
                self._all.remove(segment)
                segment.is_dropped = True
                self._leaving.append(segment)
            self.version += 1
            idle = [segment for segment in segments if not segment.readers]
        self._note()
        for segment in idle:
            self._remove(segment)

    def replace(self, old: Segment, file: Path) -> None:
        """Have an archive stand in for a segment that it was written from."""
        with self._lock:
            if old.is_dropped:
                file.unlink(missing_ok=True)
                return
        new = Segment(old.first, file, archive.relation(self.db, file))
        self.measure(new)
        new.last, new.index, new.states = old.last, old.index, old.states
        with self._lock:
            self._all[self._all.index(old)] = new
            self.version += new.rows != old.rows
            old.is_dropped = True
            self._leaving.append(old)
            is_idle = not old.readers
        if is_idle:
            self._remove(old)

    def indexed(self, segment: Segment) -> Index:
        """A segment's index, made now where it is not there yet."""
        if segment.index is None:
            segment.index = LiveIndex.of(self.db.cursor(), segment.table).seal(segment.first)
        return segment.index

    def measure(self, segment: Segment) -> None:
        """Read a segment's rows and range from its file."""
        row = self.db.cursor().execute(f"SELECT count(*), min(seq), max(seq) FROM {segment.table}").fetchall()[0]
        segment.rows = row[0]
        segment.oldest = row[1] if row[1] is not None else segment.first
        segment.last = max(segment.last, row[2] if row[2] is not None else segment.first - 1)

    def lost(self, segment: Segment, reason: str) -> None:
        """A segment turned out to be unreadable: from now on it is missing, and what is left is answered from."""
        with self._lock:
            if segment.is_dropped or segment is self._all[-1]:
                return
            self._all.remove(segment)
            self.version += 1
        self.missing.append(Missing(segment.first, segment.last, reason))
        _log.error("%s: %s", self.path, self.missing[-1])

    def revive(self, segment: Segment) -> None:
        """Attach a DuckDB file again, once nobody reads it: a checkpoint that fails leaves it refusing every query."""
        end = time.monotonic() + _REVIVE_S
        while time.monotonic() < end:
            with self._lock:  # nobody begins to read meanwhile
                if segment.is_dropped:
                    return
                if not segment.readers and segment.file is not None:
                    files.detach(self.db, segment.first)
                    files.attach(self.db, segment.first, segment.file, is_read_only=False)
                    return
            time.sleep(0.02)
        _log.error("segment %d cannot be read until the recording is opened again", segment.first)

    def beside(self, segment: Segment, suffix: str) -> Path | None:
        """Where something about a segment is kept; None where nothing is kept."""
        return None if self._directory is None else self._segments_folder / f"{segment.first:018d}{suffix}"

    def close(self) -> None:
        """Close the files."""
        self.db.close()

    def abandon(self) -> None:
        """In a forked child: the files are the parent's; never touch them, not even by a destructor."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.db))

    # inside

    @property
    def _segments_folder(self) -> Path:
        return self.path / "segments"

    def _note(self) -> None:
        """Write down which segments there are."""
        with self._lock:
            ranges: list[tuple[int, int | None]] = [(one.first, one.last) for one in self._all[:-1]]
            ranges.append((self._all[-1].first, None))
            ranges += [(gone.first, gone.last) for gone in self.missing if gone.first < self._all[-1].first]
            dropped = [one.first for one in self._leaving if all(one.first != other.first for other in self._all)]
            self._catalogue.write(ranges, dropped)

    def _open_all(self, directory: Directory) -> list[Segment]:
        self._catalogue = Catalogue(self.path / "segments.json")
        found = files.find(directory)
        if not self.is_read_only:
            files.clear(directory, found, self._catalogue.dropped)
        there = {first: file for first, file in found.items() if first not in self._catalogue.dropped}
        opened: list[Segment] = []
        for first, file in sorted(there.items()):
            try:
                opened.append(self._open_file(first, file))
            except (duckdb.Error, OSError, ValueError) as error:
                last = self._catalogue.ranges.get(first) or min((one - 1 for one in there if one > first), default=None)
                reason = f"{file.name} cannot be read: {str(error).splitlines()[0]}"
                self.missing.append(Missing(first, last, reason))
        self.missing = sorted([*self.missing, *self._catalogue.missing(set(there))])
        after = max([1, *(one.last + 1 for one in opened)])
        if self.missing:
            after = max([after, *(gone.first + _LEAP if gone.last is None else gone.last + 1 for gone in self.missing)])
        if not opened or opened[-1].is_archived or opened[-1].last + 1 < after:
            opened.append(self._open_file(after))
        for segment in opened[:-1]:
            path = self.beside(segment, ".index.npz")
            segment.index = SealedIndex.read(path, segment.first, segment.last) if path else None
        self._all = opened
        if not self.is_read_only:
            self._note()
        return opened

    def _open_file(self, first: int, file: Path | None = None) -> Segment:
        if file is not None and file.suffix == ".parquet":
            segment = Segment(first, file, archive.relation(self.db, file))
        else:
            file = file or (None if self.is_read_only else self._segments_folder / f"{first:018d}.duckdb")
            segment = Segment(first, file, files.attach(self.db, first, file, is_read_only=self.is_read_only))
        self.measure(segment)
        return segment

    def _open_export(self, file: Path) -> Segment:
        """An exported file, which is one segment that nobody adds to."""
        segment = Segment(1, file, archive.relation(self.db, file))
        self.measure(segment)
        cursor = archive.cursor_of(file)
        if cursor is not None:
            self.export_epoch = cursor.epoch
            segment.last = max(segment.last, cursor.seq)
        return segment

    def _remove(self, segment: Segment) -> None:
        """Remove the files of one that nobody reads any more, but those that its archive goes on with."""
        if not segment.is_archived:
            with contextlib.suppress(duckdb.Error):
                files.detach(self.db, segment.first)
        is_replaced = any(one.first == segment.first for one in self.all())
        files.remove(self._segments_folder, segment.first, segment.file, is_replaced=is_replaced)
        with self._lock:
            self._leaving = [one for one in self._leaving if one is not segment]
        if not is_replaced:
            self._note()
