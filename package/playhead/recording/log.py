"""`Recording`: the log on disk, opened by one process; append, read, follow, ask, forget."""

from __future__ import annotations

import atexit
import contextlib
import os
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import pyarrow as pa

from playhead import columns as table_columns
from playhead.errors import CursorGone
from playhead.events import Cursor, Event, Filter, NewEvent, new_event
from playhead.recording import sql
from playhead.recording.directory import Directory
from playhead.recording.history import EVERYTHING, At, History
from playhead.recording.segments import Segment, Segments
from playhead.recording.writer import Appended, Writer
from playhead.times import now


class Recording:
    """
    A log on disk. Every method may be called from any thread; a reader never blocks the writer.

    Attributes:
        path: The directory, ``*.playhead``.
        epoch: The id of this log.
        retention_s: After how many seconds an event expires, counted from ``created_at``.
    """

    def __init__(self, directory: Directory, *, retention_s: float, segment_events: int) -> None:
        self._directory = directory
        self.path: Path = directory.path
        self.epoch: str = directory.epoch
        self.retention_s = retention_s
        self._segments = Segments(directory)
        self._history = History(self._segments)
        self._writer = Writer(
            self._segments, path=str(self.path), epoch=self.epoch, retention_s=retention_s,
            size=segment_events,
        )  # fmt: skip
        self._is_closed = False
        _open.add(self)
        atexit.register(self.close)  # a script that forgets to close leaves a clean recording all the same

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        retention_s: float = 30 * 86400.0,
        url: str | None = None,
        create: bool = True,
        segment_events: int = 250_000,
    ) -> Recording:
        """
        Open a recording, or begin one.

        Args:
            path: Its directory.
            retention_s: Seconds until an event that is stored from now on expires.
            url: Where it is served, for the error that a second process gets.
            create: Begin one where there is none.
            segment_events: Events a segment, > 0.

        Raises:
            RecordingInUse: another process has it; names its url.
            RecordingTooNew: written by a newer playhead.
            RecordingDamaged: no recording, or not readable.
        """
        if segment_events < 1:
            raise ValueError("segment_events must be at least 1")
        directory = Directory(path, create=create, url=url)
        try:
            return cls(directory, retention_s=retention_s, segment_events=segment_events)
        except BaseException:
            directory.close()
            raise

    # positions

    @property
    def head(self) -> int:
        """The newest seq; 0 when nothing was ever stored."""
        return self._segments.head

    @property
    def oldest(self) -> int:
        """The oldest seq held; head + 1 when none is."""
        return self._segments.oldest

    def cursor(self, seq: int | None = None) -> Cursor:
        """The cursor of a seq, of the head when none is given."""
        return Cursor(self.epoch, self.head if seq is None else seq)

    def check(self, cursor: Cursor) -> int:
        """The seq of a cursor that can be read on from; raises CursorGone."""
        oldest = self.oldest
        if cursor.epoch != self.epoch:
            raise CursorGone(cursor, Cursor(self.epoch, oldest - 1), "epoch")
        if cursor.seq < oldest - 1:
            raise CursorGone(cursor, Cursor(self.epoch, oldest - 1), "trimmed")
        return cursor.seq

    @property
    def failure(self) -> str | None:
        """Why events cannot be stored at present, as the last commit said; None when they can."""
        return self._writer.failure

    def announce(self, url: str | None) -> None:
        """Write into the lock where this recording is served."""
        self._directory.announce(url)

    # writing

    def submit(self, events: Sequence[NewEvent], organization_id: str | None = None) -> Future[Appended]:
        """
        Queue validated events; the future is done when they are durable.

        Raises:
            QueueFull: at once, when too many wait. The future raises RecordingFull when the disk refuses.
        """
        return self._writer.submit(events, organization_id)

    def append(
        self, events: Iterable[Mapping[str, Any] | Event | NewEvent], organization_id: str | None = None
    ) -> tuple[int | None, int | None]:
        """
        Store events, all or none; the (first, last) new seq once they are durable, (None, None) when all were there.

        Raises:
            InvalidEvent: one breaks a rule; nothing was stored.
        """
        made = [new_event(fields, index) for index, fields in enumerate(events)]
        done = self.submit(made, organization_id).result()
        return done.first_seq, done.last_seq

    def subscribe(self, callback: Callable[[list[Event]], None]) -> Callable[[], None]:
        """Call back, in the writer thread, with each group of events once it is durable; returns the way out."""
        return self._writer.subscribe(callback)

    def delete_older(self, than: datetime, organization_id: str | None = None) -> int:
        """Really delete the events with a timestamp before ``than``; how many there were."""
        whose = " AND organization_id = ?" if organization_id is not None else ""
        values = [sql.naive(than), *([organization_id] if organization_id is not None else [])]
        return self._writer.run(lambda: self._delete("timestamp < ?" + whose, values))

    def sweep(self) -> int:
        """Really delete the events that have expired; how many there were."""
        self._segments.seal()
        return self._writer.run(lambda: self._delete("expires_at <= ?", [sql.naive(now())]))

    # reading

    def read(
        self, after: int | None = None, *, upto: int | None = None, where: Filter = EVERYTHING, at: At = None,
        limit: int | None = 100, offset: int = 0, descending: bool = False,
    ) -> list[Event]:  # fmt: skip
        """
        Events in log order.

        Args:
            after: Exclusive: seq above it, with ``descending`` below it; None for all.
            upto: Inclusive bound of seq.
            where: The filter; it applies before limits.
            at: As it was known (a cursor) or as it happened (a time).
            limit: At most so many; None for all.
        """
        span = self._history.span(after, upto, descending)
        table = self._history.table(where, span, at, limit=limit, offset=offset, descending=descending)
        return table_columns.events_of(table)

    def count(self, where: Filter = EVERYTHING, at: At = None, after: int = 0) -> int:
        """How many events match."""
        return self._history.count(where, at, after)

    def arrow(
        self, where: Filter = EVERYTHING, *, at: At = None, after: int | None = None, upto: int | None = None,
        limit: int | None = None, offset: int = 0, descending: bool = False,
    ) -> pa.RecordBatchReader:  # fmt: skip
        """The columns of an events frame as a stream of Arrow batches, in log order, in flat memory."""
        span = self._history.span(after, upto, descending)
        return self._history.stream(where, span, at, limit=limit, offset=offset, descending=descending)

    def executions(
        self, where: Filter = EVERYTHING, *, states: Sequence[str] = (), at: At = None,
        attempts: Literal["all", "last"] = "all", limit: int | None = None, offset: int = 0,
    ) -> pa.Table:  # fmt: skip
        """
        One row an attempt, in order of ``first_seq``, with the columns of an executions frame.

        Args:
            where: ``execution_id`` and ``job_id`` name the pair, ``batch_id`` its batch; ``type``, ``since``
                and ``until`` keep executions that have such an event.
            states: Keep these states.
            at: As it was known (a cursor) or as it happened (a time).
            attempts: Every attempt, or the newest of each pair.
        """
        return self._history.executions(where, states, at, attempts, limit, offset)

    def batches(
        self, where: Filter = EVERYTHING, *, limit: int | None = None, offset: int = 0
    ) -> list[dict[str, Any]]:
        """
        ``{"batchId", "counts": {state: n}, "executions", "first", "last"}`` for each batch, newest first.

        ``counts`` is of newest attempts; ``first`` and ``last`` are the times of its first and last event in the log.
        A filter keeps the batches that have such an event.
        """
        return self._history.batches(where, limit, offset)

    def stats(self) -> dict[str, Any]:
        """Figures of this moment: events, seqs, segments, bytes on disk, waiting, commits."""
        size = 0
        for file in self._directory.segments.iterdir():
            with contextlib.suppress(FileNotFoundError):  # a segment that was dropped meanwhile
                size += file.stat().st_size
        return {
            "epoch": self.epoch,
            "head": self.head,
            "oldest": self.oldest,
            "events": self._segments.rows(),
            "segments": self._segments.count,
            "bytes": size,
            "waiting": self._writer.waiting,
            "commits": self._writer.commits,
        }

    # end

    def close(self) -> None:
        """Store what waits, close the files, release the lock; again is harmless."""
        if self._is_closed:
            return
        self._is_closed = True
        _open.discard(self)
        atexit.unregister(self.close)
        self._writer.close()
        self._segments.close()
        self._directory.close()

    def _abandon(self) -> None:
        """In a forked child: the recording is the parent's."""
        self._is_closed = True
        atexit.unregister(self.close)
        self._writer.abandon()
        self._segments.abandon()
        self._directory.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Recording {str(self.path)!r} {self.cursor()}>"

    # inside

    def _delete(self, clause: str, values: list[Any]) -> int:
        """In the writer thread. A segment that is left empty is dropped, which gives its space back."""
        with self._segments.held() as segments:
            found = [(segment, self._matching(segment, clause, values)) for segment in segments]
            newest = self._segments.newest
            if any(matching for segment, matching in found if segment is newest):
                self._segments.rotate()  # the newest seq must outlive its event: it is the name of the next segment
            for segment, matching in found:
                if not matching:
                    continue
                if matching < segment.rows:
                    cursor = self._segments.db.cursor()
                    cursor.execute(f"DELETE FROM {segment.table} WHERE {clause}", values)
                    self._segments.measure(segment)
                else:
                    self._segments.drop(segment)
        return sum(matching for _, matching in found)

    def _matching(self, segment: Segment, clause: str, values: list[Any]) -> int:
        query = f"SELECT count(*) FROM {segment.table} WHERE {clause}"
        return int(self._segments.db.cursor().execute(query, values).fetchall()[0][0])


_open: weakref.WeakSet[Recording] = weakref.WeakSet()


def _in_child() -> None:
    for recording in list(_open):
        recording._abandon()


os.register_at_fork(after_in_child=_in_child)
