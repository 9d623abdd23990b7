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
from collections.abc import Callable, Sequence

import duckdb
import msgspec
import pyarrow as pa

from playhead.columns import TABLE
from playhead.errors import RecordingClosed, RecordingDamaged
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


class _Task:
    """Something for the thread to do; ``done`` is let go when it was done, or ``error`` is why not."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work, self.done = work, threading.Lock()
        self.error: Exception | None = None
        self.done.acquire()


class Tail:
    """What was stored last, on its way into the newest segment, which one thread alone writes to."""

    def __init__(self, segments: Segments, journal: Journal, size: int) -> None:
        self._segments, self._journal, self._size = segments, journal, size
        self._db = segments.db.cursor()
        # a reader may be interrupted: it takes locks and not conditions, which are Python and would stay taken
        self._lock = threading.Lock()  # of what comes next
        self._changed = threading.Condition(self._lock)
        self._waiting: list[Stored] = []  # durable and not filed yet
        self._count = 0
        self._ids: set[str] = set()  # of all that wait
        self._filed_ids: set[str] = set()  # of those being filed
        self._tasks: list[_Task] = []  # for the thread, when it has filed what waits
        self._is_closing = self._is_over = False
        self._must_forget = False
        self._error: Exception | None = None  # why some are aside
        self._recover()
        if segments.is_read_only:
            return
        segments.settle = self.settle
        self._thread = threading.Thread(target=self._run, name="playhead-tail", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> str | None:
        """Why what was stored cannot be filed; None when it can."""
        return str(self._error).partition("\n")[0] if self._error is not None and not self._segments.is_read_only else None

    def add(self, *many: Stored) -> None:
        """
        Make events durable, from the seq behind the head on, with one flush; one thread only.

        Raises:
            duckdb.Error, OSError: the disk refuses them; nothing of them is stored.
        """
        if self._error is not None:
            self._ask(self._file_all)
        records = [record for stored in many if (record := stored.record()) is not None]
        is_whole = len(records) == len(many)
        if not is_whole or not self._write(records, many):
            self.settle()  # which makes room
            if not is_whole or not self._write(records, many):
                self._ask(lambda: self._file_all(*many))

    def add_rows(self, rows: pa.Table, ids: bytes, last: int) -> None:
        """
        Put rows of another recording of this log into the newest segment, without the journal; the head is ``last`` then.

        Raises:
            duckdb.Error, OSError: the disk refuses them; nothing of them is stored.
        """
        self._ask(lambda: self._file_rows(rows, ids, last))

    def begin_at(self, first: int) -> None:
        """
        Have the next seq be ``first``: in a segment of its own, before which something is missing or was cut off.

        Raises:
            duckdb.Error, OSError: no segment can be begun.
        """

        def begin() -> None:
            self._file_all()
            if self._segments.newest.rows or self._segments.newest.first != first:
                self._leap(first)
            self._segments.head = first - 1

        self._ask(begin)

    def adopt(self, epoch: str, write: Callable[[], None]) -> None:
        """
        Be the log of another epoch; ``write`` says so on disk, while nothing is in the journal, which is of an epoch.

        Raises:
            duckdb.Error, OSError: the disk refuses it, and it is the old one still.
        """

        def begin() -> None:
            self._file_all()
            self._journal.close(is_needed=False)
            write()
            self._journal.reseed(epoch)

        self._ask(begin)

    def may_hold(self, ids: Sequence[str]) -> bool:
        """Whether any of them is among what is not filed yet."""
        with self._lock:
            return not (self._ids.isdisjoint(ids) and self._filed_ids.isdisjoint(ids))

    def settle(self) -> None:
        """Have all that is durable by now in the newest segment, or where it is read with it."""
        if threading.current_thread() is not self._thread and not self._is_over:
            with contextlib.suppress(RecordingClosed):
                self._ask(lambda: None)

    def rotate(self) -> None:
        """
        Seal the newest segment, if it holds anything.

        Raises:
            duckdb.Error, OSError: no other one can be begun.
        """
        self._ask(self._rotate)

    def forget(self) -> None:
        """
        After something was deleted: have nothing in the journal that is not there for a reason.

        Raises:
            OSError: it cannot be written; it is tried again.
        """
        self._must_forget = True
        self._ask(self._forget)

    def close(self) -> None:
        """File what waits and remove the journal; where that cannot be, the journal stays, and is read at the next opening."""
        with self._lock:
            self._is_closing = True
            self._changed.notify()
        if not self._segments.is_read_only:
            self._thread.join()

    # inside

    def _recover(self) -> None:
        """What a process that was killed had stored and not filed."""
        try:
            self._keep_lost()
            found = [Stored.of(record) for record in self._journal.read(self._segments.head)]
        except (OSError, msgspec.MsgspecError) as error:
            raise RecordingDamaged(str(self._segments.path), f"the journal cannot be read: {error}") from None
        for stored in found:
            if stored.first > self._segments.head + 1:
                gone = Missing(self._segments.head + 1, stored.first - 1, "they were to be filed before the journal")
                self._segments.missing = sorted([*self._segments.missing, gone])
                _log.warning("%s: %s", self._segments.path, gone)
                if not self._segments.is_read_only:
                    self._leap(stored.first)
            self._waiting.append(stored)
            self._segments.head = stored.last
        self._settle()
        if not self._segments.is_read_only and self._error is None:
            self._journal.close(is_needed=False)  # and with it what was deleted before the kill
            if found:
                self._segments.note()

    def _keep_lost(self) -> None:
        """Put aside what is in the journal of a segment that is lost: nothing could be filed behind it."""
        for gone in [] if self._segments.is_read_only else self._segments.missing:
            behind = min((one.first for one in self._segments.all() if one.first > gone.first), default=0)
            if gone.last is None and (kept := self._journal.keep(gone.first, behind - 1)):
                _log.error("%s: %s hold some of the events from %d on", self._segments.path, kept, gone.first)

    def _leap(self, first: int) -> None:
        """Go on in a segment that begins with a seq, behind what is missing."""
        self._settle()
        before = self._segments.newest
        self._segments.rotate(first)
        if not before.rows:
            self._segments.drop([before])

    def _write(self, records: Sequence[Record], many: Sequence[Stored]) -> bool:
        with self._lock:
            if not self._journal.write(records):
                return False
            was_empty = not self._waiting
            self._waiting += many
            for stored in many:
                self._count += len(stored.news)
                self._ids.update([new.id for new in stored.news])
            self._segments.head = many[-1].last
            if was_empty or self._count >= _MANY:
                self._changed.notify()
        return True

    def _ask(self, work: Callable[[], None]) -> None:
        """Have the thread file what waits, then do something; what that raises is raised here."""
        task = _Task(work)
        with self._lock:
            if self._is_over:
                raise RecordingClosed(str(self._segments.path), RecordingClosed.CLOSED)
            self._tasks.append(task)
            self._changed.notify()
        task.done.acquire()
        if task.error is not None:
            raise task.error

    # in the thread

    def _run(self) -> None:
        give_way(_NICE)
        is_over = False
        while not is_over:
            with self._lock:
                self._changed.wait_for(lambda: self._waiting or self._tasks or self._is_closing)
                self._changed.wait_for(lambda: self._count >= _MANY or self._tasks or self._is_closing, _SOON_S)
                tasks, self._tasks = self._tasks, []
                is_over = self._is_closing and not tasks
                self._is_over = is_over
            try:
                self._settle()
                if self._must_forget and not is_over:
                    with contextlib.suppress(OSError):  # who asked for it was told
                        self._forget()
            except Exception as error:
                if not tasks:
                    _log.exception("what was stored could not be filed")
                for task in tasks:
                    task.error = error
                    task.done.release()
                continue
            for task in tasks:
                try:
                    task.work()
                except Exception as error:
                    task.error = error
                task.done.release()
        self._end()

    def _end(self) -> None:
        try:
            self._file_all()
        except Exception as error:
            _log.warning("%s: the newest events stay in the journal: %s", self._segments.path, error)
        self._journal.close(is_needed=self._error is not None or bool(self._waiting))

    def _settle(self) -> None:
        with self._lock:
            taken, self._waiting, self._count = self._waiting, [], 0
            self._filed_ids, self._ids = self._ids, set()
            if taken:
                self._journal.turn()
        try:
            try:
                if self._segments.is_read_only and taken:
                    raise OSError("it is open to read only")
                self._file(taken)
            except (duckdb.Error, OSError) as error:
                self._put_aside(taken, error)
        except BaseException:
            with self._lock:
                self._waiting[:0] = taken
                self._ids |= self._filed_ids
            raise
        self._unneeded()

    def _file_all(self, *more: Stored) -> None:
        """File what waits, what is aside and ``more``, which is not in the journal; raises what the disk says."""
        self._settle()
        self._refile()
        try:
            self._file(list(more))
        finally:
            self._segments.head = max(self._segments.head, self._segments.newest.last)
        self._unneeded()

    def _unneeded(self) -> None:
        with self._lock:
            self._filed_ids = set()
            if self._error is None:
                self._journal.filed(is_all=not self._waiting)

    def _rotate(self) -> None:
        self._file_all()
        if self._segments.newest.rows:
            self._segments.rotate()

    def _forget(self) -> None:
        wiped: set[int] = set()
        while self._must_forget and self._error is None:
            with self._lock:
                if not self._journal.is_open:
                    self._journal.close(is_needed=False)
                    self._must_forget = False
                    return
                if self._journal.other in wiped and not self._waiting:
                    self._journal.swap()
            if self._journal.other not in wiped:  # nobody else turns to it
                self._journal.wipe_other()
                wiped.add(self._journal.other)
            self._must_forget = len(wiped) < 2
            self._settle()  # which turns to the other where something has come

    def _file(self, waiting: list[Stored]) -> None:
        """Put events into the newest segment, which is sealed when it is full; what is done is taken off the list."""
        if waiting:
            self._refile()
        while waiting:
            segment = self._segments.newest
            room, part = self._size - (segment.last - segment.first + 1), 1
            while part < len(waiting) and waiting[part - 1].last - waiting[0].first + 1 < room:
                part += 1
            rows, ids = rows_of(waiting[:part])
            # what returns rows is not split between threads, which costs a thousand rows a tenth of their time
            self._db.execute(f"INSERT INTO {segment.written} FROM rows RETURNING true").fetchall()
            del waiting[:part]
            self._count_in(segment, rows, ids)
            if segment.last - segment.first + 1 >= self._size:
                try:
                    self._segments.rotate()
                except (duckdb.Error, OSError):
                    _log.exception("no new segment could be begun; appending to the last one")

    def _file_rows(self, rows: pa.Table, ids: bytes, last: int) -> None:
        self._file_all()
        if rows.num_rows:
            segment = self._segments.newest
            self._db.execute(f"INSERT INTO {segment.written} FROM rows RETURNING true").fetchall()
            self._count_in(segment, rows, ids)
        self._segments.newest.last = self._segments.head = last
        if self._segments.newest.rows >= self._size:
            self._segments.rotate()

    def _refile(self) -> None:
        """Put what is aside into the segment's file."""
        if self._error is not None:
            segment = self._segments.newest
            last = self._db.execute(f"SELECT coalesce(max(seq), 0) FROM {segment.written}").fetchall()[0][0]
            self._db.execute(f"INSERT INTO {segment.written} SELECT * FROM {segment.table} WHERE seq > {last}")
            segment.table, self._error = segment.written, None

    def _put_aside(self, waiting: list[Stored], error: Exception) -> None:
        """Have events read with the newest segment that cannot be written to it."""
        if not waiting:
            return
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
        waiting.clear()
        self._count_in(segment, rows, ids)

    def _count_in(self, segment: Segment, rows: pa.Table, ids: bytes) -> None:
        self._segments.live.add(rows, EventIds.of(ids))  # before the segment says that they are there
        seqs = rows["seq"].to_numpy()
        if not segment.rows:
            segment.oldest = int(seqs[0])
        segment.rows += len(seqs)
        segment.last = int(seqs[-1])
        self._segments.live.settle()
