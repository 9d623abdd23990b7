"""
What is done to segments that are not written any more, in one background thread: their index, their states, packing;
the old ones' archive; and deleting, which drops a whole segment or writes what is left of it anew.

Each step leaves either what was there or what is to be there. What fails (no room, say) is tried again at the next
rotation or sweep; nothing is lost or hidden meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa

from playhead.columns import TABLE, micros
from playhead.errors import RecordingDamaged
from playhead.recording import archive, files, packed, sql
from playhead.recording.damage import is_passing
from playhead.recording.directory import Directory
from playhead.recording.index import LiveIndex, SealedIndex
from playhead.recording.pace import give_way
from playhead.recording.segments import Segment, Segments
from playhead.recording.travel import Travel

_SPARE = 8 * 2**20  # bytes that a checkpoint or an archive must leave free
_log = logging.getLogger("playhead.recording")


class Upkeep:
    """The background thread of a recording's segments."""

    def __init__(self, segments: Segments, directory: Directory, travel: Travel) -> None:
        self._segments, self._directory, self._travel = segments, directory, travel
        self._thread = ThreadPoolExecutor(1, "playhead-upkeep", initializer=give_way)
        self._deleting = threading.Lock()
        self._is_closing = False
        segments.when_sealed = self.tidy
        self.tidy()

    def tidy(self) -> None:
        """Index, sum up and pack every segment that is not written any more and has not been yet."""
        self._segments.note()
        with contextlib.suppress(RuntimeError):  # the process ends: it is done when the recording is opened again
            for segment in self._segments.all()[:-1]:
                if not isinstance(segment.index, SealedIndex):
                    self._thread.submit(self._index, segment)
                if segment.states is None or not segment.states.is_whole:
                    self._thread.submit(self._sum_up, segment)
                if not segment.is_rewritten:
                    self._thread.submit(self._pack, segment)

    def archive(self, before: datetime) -> None:
        """Keep as Parquet, from now on, what was stored before a time."""
        self._thread.submit(self._archive, sql.naive(before))

    def wait(self) -> None:
        """Until everything that was to be done by now is."""
        self._segments.settle()
        self._thread.submit(lambda: None).result()

    def delete(
        self, than: datetime, organization_id: str | None, rotate: Callable[[], None], upto: int | None = None
    ) -> int:
        """
        Really delete the events with a timestamp before ``than``, of an organisation or of all; how many there were.

        With ``upto`` only those up to that seq.

        ``rotate`` seals the newest segment: the newest seq must outlive its event, it is the name of the next one.
        """
        whose = " AND organization_id = ?" if organization_id is not None else ""
        clause, values = "timestamp < ?" + whose, [sql.naive(than), *([organization_id] if whose else [])]
        clause += f" AND seq <= {upto}" if upto is not None else ""

        def matching(segment: Segment) -> int:
            times = segment.index.times if segment.index is not None else None
            if times is not None and times.first >= micros(than):
                return 0
            if times is not None and times.last < micros(than) and not whose and (upto is None or segment.last <= upto):
                return segment.rows
            return self._count(segment, clause, values)

        self._segments.settle()
        with self._deleting:
            if matching(self._segments.newest):
                rotate()
            with self._segments.held() as held:
                found = [(segment, matching(segment)) for segment in held if segment is not self._segments.newest]
            whole = [segment for segment, count in found if count and count == segment.rows]
            parts = [segment for segment, count in found if count and segment not in whole]
            with self._unless_oldest(whole, parts):
                self._segments.drop(whole)
                return sum(segment.rows for segment in whole) + sum(self._rewrite(one, clause, values) for one in parts)

    @contextlib.contextmanager
    def _unless_oldest(self, whole: list[Segment], parts: list[Segment]) -> Iterator[None]:
        """Keyframes outlive the oldest segments, and nothing else that is deleted before them."""
        if parts or whole != self._segments.all()[: len(whole)]:
            with self._travel.changing(min(segment.first for segment in [*whole, *parts])):
                yield
            self.tidy()
        else:
            yield

    def expire(self, moment: datetime, rotate: Callable[[], None]) -> int:
        """Drop the segments of which everything has expired; how many events that was."""
        self._segments.settle()
        with self._deleting:
            newest = self._segments.newest
            if newest.rows and (newest.flaw is not None or self._expired(newest, moment)):
                rotate()
            with self._segments.held() as held:
                found = [one for one in held if one is not self._segments.newest and self._expired(one, moment)]
            with self._unless_oldest(found, []):
                self._segments.drop(found, have_expired=True)
        return sum(segment.rows for segment in found)

    def cut(self, last: int, begin_at: Callable[[int], None]) -> None:
        """Take off all events behind a seq, for good; ``begin_at`` begins a segment with the next one."""
        self._segments.settle()
        with self._deleting:
            begin_at(self._segments.head + 1)
            every = self._segments.all()[:-1]
            with self._travel.changing(min((one.first for one in every if one.last > last), default=last + 1)):
                self._segments.drop([one for one in every if one.first > last])
                for one in every:
                    if one.first <= last < one.last:
                        self._rewrite(one, "seq > ?", [last])
                for one in self._segments.all()[:-1]:
                    one.last = min(one.last, last)
            begin_at(last + 1)
        self.tidy()

    def age_s(self, moment: datetime) -> float:
        """Seconds since the oldest event of the newest segment was stored; 0 when it has none."""
        newest, oldest = self._segments.newest, None
        with self._segments.holding(newest) as is_there:  # it may be sealed and packed meanwhile
            if is_there:
                query = f"SELECT min(created_at) FROM {newest.table}"
                oldest = self._segments.db.cursor().execute(query).fetchall()[0][0]
        return 0.0 if oldest is None else (sql.naive(moment) - oldest).total_seconds()

    def close(self) -> None:
        """Finish what is sealed, and checkpoint the newest so that it opens at once."""
        self._is_closing = True
        self._thread.shutdown(wait=True)
        self._checkpoint(self._segments.newest)

    # inside

    def _count(self, segment: Segment, clause: str, values: list[Any]) -> int:
        query = f"SELECT count(*) FROM {segment.table} WHERE {clause}"
        with self._segments.guarded([segment]):
            return int(self._segments.db.cursor().execute(query, values).fetchall()[0][0])

    def _expired(self, segment: Segment, moment: datetime) -> bool:
        try:
            return not self._count(segment, "(expires_at <= ?) IS NOT TRUE", [sql.naive(moment)])
        except duckdb.Error as error:
            if is_passing(error):  # it cannot be asked at present
                return False
            raise

    def _log_of(self, segment: Segment) -> os.stat_result | None:
        """The write-ahead log of a segment's file, while it has one."""
        if segment.file is None or segment.is_archived:
            return None
        with contextlib.suppress(FileNotFoundError):
            return segment.file.with_name(f"{segment.file.name}.wal").stat()
        return None

    def _index(self, segment: Segment) -> None:
        """Its index as arrays, here and on disk; without the file it is made again when the recording is opened."""
        path = self._segments.beside(segment, ".index.npz")
        try:
            with self._segments.holding(segment) as is_there:
                if not is_there or path is None or isinstance(segment.index, SealedIndex):
                    return
                made = self._segments.indexed(segment)
                sealed = made.seal(segment.first) if isinstance(made, LiveIndex) else made
                segment.index = sealed
                if isinstance(sealed, SealedIndex):
                    sealed.save(path)
        except (duckdb.Error, OSError) as error:
            _log.warning("the index of segment %d was not written: %s", segment.first, error)

    def _sum_up(self, segment: Segment) -> None:
        if self._is_closing:
            return
        try:
            self._travel.finish(segment)
        except (duckdb.Error, RecordingDamaged) as error:
            if not self._is_closing and not segment.is_dropped:
                _log.warning("the states of segment %d were not made: %s", segment.first, error)

    def _pack(self, segment: Segment) -> None:
        log = self._log_of(segment)
        if self._is_closing and log is None:  # it is packed when the recording is opened again
            return
        with self._deleting, self._segments.holding(segment) as is_there:
            size = self._size_of(segment)
            if not is_there or segment.is_rewritten or not self._has_room(size):
                return
            path = files.rewriting(self._directory.segments, segment.first, segment.file, ".duckdb")
            try:
                with self._segments.guarded([segment]):
                    packed.write(self._segments.db, segment.table, segment.first, path)
                self._segments.replace(segment, path)
            except (duckdb.Error, OSError, RecordingDamaged) as error:
                _log.warning("segment %d could not be packed, it stays as it is: %s", segment.first, error)

    def _checkpoint(self, segment: Segment) -> None:
        """So that it opens at once; nobody reads it meanwhile."""
        log = self._log_of(segment)
        if log is None or not self._has_room(log.st_size):
            return
        try:
            self._segments.db.cursor().execute(f"CHECKPOINT {files.database(segment.first, segment.file)}")
        except duckdb.Error as error:
            _log.warning("segment %d could not be checkpointed, its log still holds it: %s", segment.first, error)

    def _archive(self, before: datetime) -> None:
        for segment in self._segments.all()[:-1]:
            with self._deleting:
                if self._is_closing:
                    return
                if segment.is_archived or segment.is_dropped or not self._has_room(self._size_of(segment)):
                    continue
                try:
                    if not self._count(segment, "(created_at < ?) IS NOT TRUE", [before]):
                        self._rewrite(segment, "false", [])
                except (duckdb.Error, OSError, pa.ArrowException, RecordingDamaged) as error:
                    _log.warning("segment %d could not be archived, it stays as it is: %s", segment.first, error)

    def _rewrite(self, segment: Segment, clause: str, values: list[Any]) -> int:
        """Write an archive of a segment without what a condition names; how many events that left out."""
        with self._segments.holding(segment) as is_there:
            if not is_there:
                return 0
            path = files.rewriting(self._directory.archive, segment.first, segment.file, ".parquet")
            query = f"SELECT {sql.named(TABLE)} FROM {segment.table} WHERE ({clause}) IS NOT TRUE ORDER BY seq"
            with self._segments.guarded([segment]):
                left = archive.write(self._batches(query, values), path, self._segments.expect)
            gone = segment.rows - left
            if left:
                self._segments.replace(segment, path)
            else:
                self._segments.drop([segment])
        return gone

    def _batches(self, query: str, values: list[Any]) -> Iterator[pa.RecordBatch]:
        for batch in self._segments.db.cursor().sql(query, params=values).to_arrow_reader(65_536):
            yield sql.zoned(batch)

    def _size_of(self, segment: Segment) -> int:
        """The bytes of its file, or of its log where most is still there."""
        log = self._log_of(segment)
        size = segment.file.stat().st_size if segment.file is not None and segment.file.exists() else 0
        return max(size, log.st_size if log is not None else 0)

    def _has_room(self, size: int) -> bool:
        return shutil.disk_usage(self._directory.path).free >= size + _SPARE
