"""
The segments of a recording, oldest first, and who reads them.

The newest is appended to; at ``segment_events`` it is sealed, and what is left to do for it is done in the background
(`upkeep.py`). Readers hold the segments they read (`Segments.held`), so that one that was dropped, or replaced by its
archive, is let go of only after the last of them.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from playhead.errors import RecordingDamaged, RecordingInUse
from playhead.recording import files
from playhead.recording.catalogue import Catalogue, Missing
from playhead.recording.damage import is_passing
from playhead.recording.directory import Directory, sync
from playhead.recording.index import Index, LiveIndex
from playhead.recording.opening import Opening
from playhead.recording.segment import Segment

__all__ = ["Segment", "Segments"]
_log = logging.getLogger("playhead.recording")


class Segments:
    """
    Every segment of a recording; the last one is being written.

    Attributes:
        db: The DuckDB that all of them are seen by.
        head: The newest seq ever given; those that are not in a segment yet get there by `settle`.
        settle: Has all that is durable in the newest segment (`tail.py`).
        version: How often something was taken away; who reads in several steps begins again when it has changed.
        missing: What should be there and is not, or cannot be read.
        export_epoch: The epoch that an exported file names.
    """

    def __init__(self, directory: Directory | None, path: Path) -> None:
        self._directory, self.path = directory, path
        self.is_read_only = directory is None or directory.is_read_only
        self._lock, self._checking, self._noting = threading.Lock(), threading.Lock(), threading.Lock()
        self._leaving: list[Segment] = []  # dropped while somebody reads them
        self.settle: Callable[[], None] = lambda: None
        self.when_sealed: Callable[[], None] = lambda: None  # called when there is one more to take care of
        self.when_lost: Callable[[int], None] = lambda first: None  # what was made of it and later ones is of no use
        self.version = 0
        self.export_epoch = ""
        self._catalogue = Catalogue(path / "segments.json")
        try:
            self.db = files.Database(path, path / "tmp" if directory is not None and not self.is_read_only else None)
            self._opening = Opening(self.db, self._segments_folder, self._catalogue, is_read_only=self.is_read_only)
            if directory is not None:
                self._all = self._opening.all(directory)
            else:
                export, cursor = self._opening.export(path)
                self._all, self.export_epoch = [export], cursor.epoch if cursor is not None else "export"
            newest = self._all[-1]
            newest.index = self.live = LiveIndex.of(self.db.cursor(), newest.table)
        except (duckdb.Error, OSError, ValueError) as error:
            if held := re.search(r"Could not set lock.*?(?:PID (\d+)|$)", str(error)):
                raise RecordingInUse(str(path), None, int(held[1]) if held[1] else None) from error
            raise RecordingDamaged(str(path), str(error).splitlines()[0]) from error
        self.head = newest.last
        self.missing = self._opening.missing
        if not self.is_read_only:
            self.note()
        for gone in self.missing:
            _log.warning("%s: %s", path, gone)

    @property
    def newest(self) -> Segment:
        """The segment that is appended to."""
        return self._all[-1]

    @property
    def oldest(self) -> int:
        """The oldest seq still held; head + 1 when none is."""
        with self._lock:
            return min((segment.oldest for segment in self._all if segment.rows), default=self._all[-1].last + 1)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._all)

    def rows(self) -> int:
        """How many events are held."""
        self.settle()
        with self._lock:
            return sum(segment.rows for segment in self._all)

    def all(self) -> list[Segment]:
        """The segments of this moment, oldest first."""
        with self._lock:
            return list(self._all)

    @contextlib.contextmanager
    def held(self, first: int = 0, last: int = 2**62) -> Iterator[list[Segment]]:
        """The segments that hold anything of ``first..last``, kept in place while the block runs."""
        if min(last, self.head) > self.newest.last:
            self.settle()
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
            is_there = not (segment.is_dropped or segment.is_lost)
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

    def rotate(self, first: int | None = None) -> None:
        """Begin the next segment, with a seq or the next one; who writes to the newest one only."""
        sealed, segment = self.newest, self._opening.file(first or self.newest.last + 1)
        try:
            sync(self._segments_folder)
            self._write_catalogue(segment)
        except OSError:
            files.detach(self.db, files.database(segment.first, segment.file))
            files.forget(self._segments_folder, segment.first, segment.file)
            raise
        segment.index = self.live = LiveIndex()
        with self._lock:
            self._all.append(segment)
        if sealed.flaw is not None:
            self._lose(sealed, sealed.flaw)
        self.when_sealed()

    def drop(self, segments: list[Segment], *, have_expired: bool = False) -> None:
        """Forget segments, never the newest; a file goes when nobody reads it. So does what is missing before expired ones."""
        with self._lock:
            segments = [segment for segment in segments if segment in self._all]
            if not segments:
                return
            for segment in segments:
                self._all.remove(segment)
                segment.is_dropped = True
                self._leaving.append(segment)
            self.version += 1
            idle = [segment for segment in segments if not segment.readers]
            first = min(self._all[0].first, max(one.first for one in segments)) if have_expired else 0
            past = [gone for gone in self.missing if gone.last is not None and gone.last < first]
            self.missing = [gone for gone in self.missing if gone not in past]
        self.note()  # where the disk is full it may fail, and what is removed now makes room for it
        for gone in past:
            self._remove_missing(gone.first)
        for segment in idle:
            self._remove(segment)
        self.note()

    def is_leaving(self, first: int) -> bool:
        """Whether somebody still reads one that began with a seq and was dropped: its file has the name of the next such."""
        with self._lock:
            return any(one.first == first for one in self._leaving)

    def replace(self, old: Segment, file: Path) -> None:
        """Have a file stand in for a segment that it was written from."""
        with self._lock:
            if old.is_dropped:
                files.unlink(file)
                return
        new = self._opening.file(old.first, file)
        new.last, new.index, new.states, new.is_checked = old.last, old.index, old.states, True
        with self._lock:
            if old not in self._all:
                return
            self._all[self._all.index(old)] = new
            self.version += new.rows != old.rows
            old.is_dropped = True
            self._leaving.append(old)
            is_idle = not old.readers
        if is_idle:
            self._remove(old)

    def indexed(self, segment: Segment) -> Index:
        """A segment's index, made now where it is not there yet."""
        while segment.index is None:
            with self.holding(segment) as is_there:
                if is_there:
                    segment.index = LiveIndex.of(self.db.cursor(), segment.table).seal(segment.first)
                    break
            standing_in = next((one for one in self.all() if one.first == segment.first), None)
            if standing_in is None:
                return LiveIndex()  # it was dropped, and nothing of it is left
            segment = standing_in
        return segment.index

    @contextlib.contextmanager
    def guarded(self, segments: Sequence[Segment]) -> Iterator[None]:
        """
        While segments that are held are read.

        Raises:
            RecordingDamaged: one turned out to be unreadable; it is missing from now on, and asking again is answered
                from what is left.
        """
        for segment in segments:
            if segment.is_archived and not segment.is_checked:
                with self._checking:
                    reason = None if segment.is_checked else self._opening.flaw(segment)
                    segment.is_checked = reason is None
                if reason is not None:
                    raise self._lose(segment, reason)
        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError) as error:  # a stream of Arrow has DuckDB's as OSError
            for segment in [] if is_passing(error) else segments:
                if (reason := self._opening.flaw(segment)) is not None:
                    raise self._lose(segment, reason) from error
            raise

    def expect(self, name: str, checksum: int) -> None:
        """Note the checksum of an archive that is about to be there."""
        self._catalogue.checksums[name] = checksum
        self._write_catalogue()

    def note(self) -> None:
        """Write down which segments there are; where that fails, it is done next time."""
        try:
            self._write_catalogue()
        except OSError as error:
            _log.warning("%s: the catalogue was not written: %s", self.path, error)

    def beside(self, segment: Segment, suffix: str) -> Path | None:
        """Where something about a segment is kept; None where nothing is kept."""
        return None if self._directory is None else self._segments_folder / f"{segment.first:018d}{suffix}"

    def close(self) -> None:
        """Close the files."""
        self.db.close()

    def abandon(self) -> None:
        """In a forked child: the files are the parent's; never touch them, not even by a destructor."""
        self.db.abandon()
        self.settle = lambda: None
        self.head = self.newest.last  # the rest is the parent's to file

    # inside

    @property
    def _segments_folder(self) -> Path:
        return self.path / "segments"

    def _lose(self, segment: Segment, reason: str) -> RecordingDamaged:
        """Have a segment count as missing, the newest one once another is begun; the error that says so."""
        gone = Missing(segment.first, segment.last, reason)
        with self._lock:
            is_new = segment in self._all
            if is_new and segment is self._all[-1]:
                segment.flaw, is_new = reason, False
            elif is_new:
                self._all.remove(segment)
                segment.is_lost = True
                self.missing = sorted([*self.missing, gone])
                self.version += 1
        if is_new:
            _log.error("%s: %s", self.path, gone)
            self.when_lost(segment.first)
            if not self.is_read_only:
                self.note()
        return RecordingDamaged(str(self.path), str(gone))

    def _write_catalogue(self, newest: Segment | None = None) -> None:
        with self._noting:
            with self._lock:  # not while it is written: readers need it
                every = self._all if newest is None else [*self._all, newest]
                ranges: list[tuple[int, int | None]] = [(one.first, one.last) for one in every[:-1]]
                ranges.append((every[-1].first, None))
                dropped = [one.first for one in self._leaving if all(one.first != other.first for other in every)]
                missing = list(self.missing)
            self._catalogue.write(ranges, missing, dropped)

    def _remove(self, segment: Segment) -> None:
        """Remove the files of one that nobody reads any more."""
        if not segment.is_archived:
            with contextlib.suppress(duckdb.Error):
                files.detach(self.db, files.database(segment.first, segment.file))
        if any(one.first == segment.first for one in self.all()):
            assert segment.file is not None
            files.unlink(segment.file)  # what stands in for it goes on with the rest
        else:
            files.forget(self._segments_folder, segment.first, segment.file)
        with self._lock:
            self._leaving = [one for one in self._leaving if one is not segment]
        if segment.file is not None:
            self._catalogue.checksums.pop(segment.file.name, None)
        self.note()

    def _remove_missing(self, first: int) -> None:
        """Remove what there still is of one that is missing and has expired."""
        assert self._directory is not None
        file = files.find(self._directory).get(first)
        with contextlib.suppress(duckdb.Error):  # it may not be attached
            files.detach(self.db, files.database(first, file))
        files.forget(self._segments_folder, first, file)

