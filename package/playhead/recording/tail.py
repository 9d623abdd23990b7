"""
The end of the log: durable in the journal at once, in the newest segment a moment later.

A commit of DuckDB costs more than a millisecond of processor time, whatever is in it, and waits for what else the file
system does; a record of the journal costs a twentieth. So events are written there, acknowledged, and *filed* together
with those that came after them: by a thread of its own within 0.2 s, or when somebody asks for them (`Segments.held`).

What cannot be filed, because the disk is full say, is read from memory meanwhile and stays in the journal; and nothing
more is taken until it is filed.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa

from playhead.columns import TABLE
from playhead.errors import RecordingDamaged
from playhead.recording.catalogue import Missing
from playhead.recording.identities import EventIds
from playhead.recording.journal import Journal, Record
from playhead.recording.pace import give_way
from playhead.recording.segments import Segment, Segments
from playhead.recording.stored import Stored, rows_of

_SOON_S, _MANY = 0.2, 4_000  # until events are filed, and how many are not waited with
_NICE = 5
_ASIDE = "memory.main.aside"
_log = logging.getLogger("playhead.recording")


class Tail:
    """What was stored last, on its way into the newest segment."""

    def __init__(self, segments: Segments, journal: Journal, size: int) -> None:
        self._segments, self._journal, self._size = segments, journal, size
        self._db = segments.db.cursor()
        self._filing, self._filer = threading.Lock(), 0  # held by who changes the newest segment, and which thread it is
        self._changed = threading.Condition()  # of what comes next
        self._waiting: list[Stored] = []  # durable and not filed yet
        self._count = 0
        self._ids: set[str] = set()  # of all that wait
        self._filed_ids: set[str] = set()  # of those being filed
        self._is_closing = False
        self._error: Exception | None = None  # why some are aside
        self._recover()
        segments.settle = self.settle
        self._thread = threading.Thread(target=self._run, name="playhead-tail", daemon=True)
        if not segments.is_read_only:
            self._thread.start()

    @property
    def failure(self) -> str | None:
        """Why what was stored cannot be filed; None when it can."""
        return str(self._error).partition("\n")[0] if self._error is not None and not self._segments.is_read_only else None

    def add(self, stored: Stored) -> None:
        """
        Make events durable, from the seq behind the head on; one thread only.

        Raises:
            duckdb.Error, OSError: the disk refuses them; nothing of them is stored.
        """
        if self._error is not None:
            with self._writing():
                self._file_all([])
        record = stored.record()
        if record is None or not self._write(record, stored):
            self.settle()  # which makes room
            if record is None or not self._write(record, stored):
                with self._writing():
                    self._file_all([stored])
                self._segments.head = stored.last

    def may_hold(self, ids: Sequence[str]) -> bool:
        """Whether any of them is among what is not filed yet."""
        with self._changed:
            return not (self._ids.isdisjoint(ids) and self._filed_ids.isdisjoint(ids))

    def settle(self) -> None:
        """Have all that is durable by now in the newest segment, or where it is read with it."""
        if self._filer == threading.get_ident():
            return
        with self._writing():
            self._settle()

    def rotate(self) -> None:
        """
        Seal the newest segment, if it holds anything.

        Raises:
            duckdb.Error, OSError: no other one can be begun.
        """
        with self._writing():
            self._file_all([])
            if self._segments.newest.rows:
                self._segments.rotate()

    def forget(self) -> None:
        """After something was deleted: have nothing in the journal that is not there for a reason."""
        with self._writing():
            wiped = 0
            while wiped < 2 and self._error is None:
                self._settle()
                with self._changed:
                    if self._waiting:
                        continue
                    self._journal.swap()
                self._journal.wipe_other()
                wiped += 1

    def close(self) -> None:
        """File what waits and remove the journal; where that cannot be, the journal stays, and is read at the next opening."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()
        if self._segments.is_read_only:
            return
        try:
            with self._writing():
                self._file_all([])
        except (duckdb.Error, OSError) as error:
            _log.warning("%s: the newest events stay in the journal: %s", self._segments.path, error)
        self._journal.close(is_needed=self._error is not None or bool(self._waiting))

    # inside

    def _recover(self) -> None:
        """What a process that was killed had stored and not filed."""
        try:
            records = self._journal.read(self._segments.head)
        except OSError as error:
            raise RecordingDamaged(str(self._segments.path), f"{error.strerror}: {error.filename}") from None
        for record in records:
            if record.first > self._segments.head + 1:
                gone = Missing(self._segments.head + 1, record.first - 1, "they were to be filed before the journal")
                self._segments.missing = sorted([*self._segments.missing, gone])
                _log.warning("%s: %s", self._segments.path, gone)
                if not self._segments.is_read_only:
                    self._leap(record.first)
            self._waiting.append(Stored.of(record))
            self._segments.head = record.last
        self.settle()
        if records and not self._segments.is_read_only:
            self._segments.note()

    def _leap(self, first: int) -> None:
        """Go on in a segment that begins with a seq, behind what is missing."""
        self.settle()
        before = self._segments.newest
        self._segments.rotate(first)
        if not before.rows:
            self._segments.drop([before])

    def _run(self) -> None:
        give_way(_NICE)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closing)
                if self._is_closing:
                    return
                self._changed.wait_for(lambda: self._count >= _MANY or self._is_closing, _SOON_S)
            try:
                self.settle()
            except Exception:
                _log.exception("what was stored could not be filed")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """While the newest segment is written to."""
        with self._filing:
            self._filer = threading.get_ident()
            try:
                yield
            finally:
                self._filer = 0

    def _write(self, record: Record, stored: Stored) -> bool:
        with self._changed:
            if not self._journal.write(record):
                return False
            self._waiting.append(stored)
            self._count += record.rows
            self._ids.update([new.id for new in stored.news])
            self._segments.head = stored.last
            if len(self._waiting) == 1 or self._count >= _MANY:
                self._changed.notify()
        return True

    def _settle(self) -> None:
        with self._changed:
            taken, self._waiting, self._count = self._waiting, [], 0
            self._filed_ids, self._ids = self._ids, set()
            if taken:
                self._journal.turn()
        if not taken:
            return
        try:
            try:
                if self._segments.is_read_only:
                    raise OSError("it is open to read only")
                self._file(taken)
            except (duckdb.Error, OSError) as error:
                self._put_aside(taken, error)
        except BaseException:
            with self._changed:
                self._waiting[:0] = taken
                self._ids |= self._filed_ids
            raise
        self._unneeded()

    def _file_all(self, more: list[Stored]) -> None:
        """File what waits, what is aside and ``more``, which is not in the journal; raises what the disk says."""
        self._settle()
        self._file(more)
        self._unneeded()

    def _unneeded(self) -> None:
        with self._changed:
            self._filed_ids = set()
            if self._error is None:
                self._journal.filed(is_all=not self._waiting)

    def _file(self, waiting: list[Stored]) -> None:
        """Put events into the newest segment, which is sealed when it is full; what is done is taken off the list."""
        if self._error is not None:
            segment = self._segments.newest
            self._db.execute(f"INSERT INTO {segment.written} SELECT * FROM {segment.table} WHERE seq > {self._last_written()}")
            segment.table, self._error = segment.written, None
        while waiting:
            segment = self._segments.newest
            room, part = self._size - (segment.last - segment.first + 1), 1
            while part < len(waiting) and waiting[part - 1].last - waiting[0].first + 1 < room:
                part += 1
            rows, ids = rows_of(waiting[:part])
            # what returns rows is not split between threads, which costs a thousand rows a tenth of their time
            self._db.execute(f"INSERT INTO {segment.written} FROM rows RETURNING true").fetchall()
            self._count_in(segment, rows, ids)
            del waiting[:part]
            if segment.last - segment.first + 1 >= self._size:
                try:
                    self._segments.rotate()
                except (duckdb.Error, OSError):
                    _log.exception("no new segment could be begun; appending to the last one")

    def _put_aside(self, waiting: list[Stored], error: Exception) -> None:
        """Have events read with the newest segment that cannot be written to it."""
        segment = self._segments.newest
        rows, ids = rows_of(waiting)
        if self._error is None:
            columns = ", ".join(f"{name} {kind}" for name, kind in TABLE.items())
            self._db.execute(f"CREATE OR REPLACE TABLE {_ASIDE} ({columns})")
        self._db.execute(f"INSERT INTO {_ASIDE} FROM rows")
        # exact at every moment, also while they are filed after all
        written = f"(SELECT coalesce(max(seq), 0) FROM {segment.written})"
        segment.table = f"(FROM {segment.written} UNION ALL FROM {_ASIDE} WHERE seq > {written})"
        self._error = error
        self._count_in(segment, rows, ids)

    def _last_written(self) -> int:
        found = self._db.execute(f"SELECT coalesce(max(seq), 0) FROM {self._segments.newest.written}").fetchall()
        return int(found[0][0])

    def _count_in(self, segment: Segment, rows: pa.Table, ids: bytes) -> None:
        self._segments.live.add(rows, EventIds.of(ids))  # before the segment says that they are there
        seqs = rows["seq"].to_numpy()
        if not segment.rows:
            segment.oldest = int(seqs[0])
        segment.rows += len(seqs)
        segment.last = int(seqs[-1])
        self._segments.live.settle()
