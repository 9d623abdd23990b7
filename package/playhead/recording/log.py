"""`Recording`: the log on disk, opened by one process; append, read, follow, ask, forget."""

from __future__ import annotations

import atexit
import contextlib
import os
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import duckdb
import pyarrow as pa

from playhead import columns as table_columns
from playhead.errors import CursorGone, RecordingClosed, RecordingFull, RecordingReadOnly
from playhead.events import Cursor, Event, Filter, NewEvent
from playhead.intake import new_events
from playhead.recording.catalogue import Missing
from playhead.recording.directory import Directory
from playhead.recording.executions import ExecutionHistory
from playhead.recording.history import EVERYTHING, At, History
from playhead.recording.journal import Journal
from playhead.recording.replica import Replica
from playhead.recording.requests import Appended
from playhead.recording.segments import Segments
from playhead.recording.tail import Tail
from playhead.recording.travel import Travel
from playhead.recording.upkeep import Upkeep
from playhead.recording.writer import Writer
from playhead.times import now

_AGE = 1 / 30  # of the retention: how long a segment takes events


class Recording:
    """
    A log on disk. Every method may be called from any thread; a reader never blocks the writer.

    Attributes:
        path: The directory, ``*.playhead``.
        epoch: The id of this log.
        retention_s: After how many seconds an event expires, counted from ``created_at``.
        is_read_only: Nothing can be written there, or it is an exported file.
    """

    def __init__(
        self, path: Path, directory: Directory | None, *, retention_s: float, segment_events: int, archive_after_s: float
    ) -> None:
        self.path, self.retention_s = path, retention_s
        self._directory, self._archive_after_s = directory, archive_after_s
        self._segments = Segments(directory, path)
        self.epoch: str = directory.epoch if directory is not None else self._segments.export_epoch
        self.is_read_only = self._segments.is_read_only
        self._history = History(self._segments)
        travel = Travel(self._history, self._segments)
        self._executions = ExecutionHistory(self._segments, self._history, travel)
        self._upkeep: Upkeep | None = None
        self._tail: Tail | None = None
        self._writer: Writer | None = None
        self._is_closed, self._why = False, RecordingClosed.CLOSED
        if directory is not None:
            self._tail = Tail(self._segments, Journal(path, directory.epoch), segment_events)
        if directory is not None and self._tail is not None and not self.is_read_only:
            self._upkeep = Upkeep(self._segments, directory, travel)
            self._writer = Writer(
                self._segments, self._tail, path=str(self.path), epoch=self.epoch, retention_s=retention_s
            )
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
        archive_after_s: float = 86400.0,
    ) -> Recording:
        """
        Open a recording, or begin one. Where nothing can be written it is opened to read only.

        Args:
            path: Its directory; or a Parquet file of events that was exported, to read only.
            retention_s: Seconds until an event that is stored from now on expires.
            url: Where it is served, for the error that a second process gets.
            create: Begin one where there is none.
            segment_events: Events a segment, > 0.
            archive_after_s: Seconds after which `sweep` keeps what was stored as Parquet: a sixth smaller, readable
                by other tools, and two to three times slower to ask (tests/benchmarks/bench_recording.py --archived).

        Raises:
            RecordingInUse: another process has it; names its url.
            RecordingTooNew: written by a newer playhead.
            RecordingDamaged: no recording, or not readable.
        """
        if segment_events < 1:
            raise ValueError("segment_events must be at least 1")
        whole = Path(path).expanduser().absolute()
        directory = None if whole.is_file() and whole.suffix == ".parquet" else Directory(path, create=create, url=url)
        try:
            return cls(
                whole, directory, retention_s=retention_s, segment_events=segment_events, archive_after_s=archive_after_s
            )
        except BaseException:
            if directory is not None:
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
        if self._tail is not None and self._tail.failure is not None:
            return str(RecordingFull(str(self.path), self._tail.failure))
        return self._writer.failure if self._writer is not None else None

    @property
    def missing(self) -> list[Missing]:
        """The ranges of seq that were stored and cannot be read, for want of their file or because it is damaged."""
        return list(self._segments.missing)

    def announce(self, url: str | None) -> None:
        """Write into the lock where this recording is served."""
        if self._directory is not None:
            self._directory.announce(url)

    # writing

    def submit(self, events: Sequence[NewEvent], organization_id: str | None = None) -> Future[Appended]:
        """
        Queue validated events; the future is done when they are durable.

        Raises:
            QueueFull: at once, when too many wait. The future raises RecordingFull when the disk refuses.
            RecordingReadOnly: nothing can be written there.
        """
        if self._writer is None:
            raise RecordingReadOnly(str(self.path))
        return self._writer.submit(events, organization_id)

    def append(
        self, events: Iterable[Mapping[str, Any] | Event | NewEvent], organization_id: str | None = None
    ) -> tuple[int | None, int | None]:
        """
        Store events, all or none; the (first, last) new seq once they are durable, (None, None) when all were there.

        Raises:
            InvalidEvent: one breaks a rule; nothing was stored.
        """
        done = self.submit(new_events(events), organization_id).result()
        return done.first_seq, done.last_seq

    def subscribe(self, callback: Callable[[list[Event]], None]) -> Callable[[], None]:
        """Call back, in the writer thread, with each group of events once it is durable; returns the way out."""
        return self._writer.subscribe(callback) if self._writer is not None else lambda: None

    def replica(self) -> Replica:
        """The way in for a server that gets this log's events numbered by another; raises RecordingReadOnly."""
        kept = self._kept()
        assert self._directory is not None and self._tail is not None and self._writer is not None
        return Replica(self, self._segments, self._directory, self._tail, self._writer, kept)

    def delete_older(self, than: datetime, organization_id: str | None = None, *, upto: int | None = None) -> int:
        """
        Really delete the events with a timestamp before ``than``, and give their space back; how many there were.

        With ``upto`` only those up to that seq.

        Raises:
            RecordingFull: there is no room to write what is left of a segment; whole segments may be gone.
            RecordingReadOnly: nothing can be written there.
        """
        kept, gone = self._kept(), -1
        try:
            try:
                gone = kept.delete(than, organization_id, self._rotate, upto)
            finally:
                if gone:
                    self._forget()
        except (duckdb.Error, OSError, pa.ArrowException) as error:
            raise RecordingFull(str(self.path), str(error).partition("\n")[0]) from error
        return gone

    def sweep(self) -> int:
        """
        Forget the events that have expired, a segment at a time; how many there were.

        No segment takes events for longer than a thirtieth of the retention, so an event goes at most that much late.
        What was stored long enough ago is archived, in the background.
        """
        upkeep, moment = self._kept(), now()
        upkeep.tidy()
        upkeep.archive(moment - timedelta(seconds=self._archive_after_s))
        gone = upkeep.expire(moment, self._rotate)
        if gone:
            self._forget()
        if upkeep.age_s(moment) > self.retention_s * _AGE:
            self._rotate()
        return gone

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
        limit: int | None = None, offset: int = 0, descending: bool = False, columns: Sequence[str] = (),
    ) -> pa.RecordBatchReader:  # fmt: skip
        """The columns of an events frame, or those named, as a stream of Arrow batches, in log order, in flat memory."""
        span = self._history.span(after, upto, descending)
        return self._history.stream(where, span, at, limit=limit, offset=offset, descending=descending, columns=columns)

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
        return self._executions.executions(where, states, at, attempts, limit, offset)

    def batches(
        self, where: Filter = EVERYTHING, *, limit: int | None = None, offset: int = 0
    ) -> list[dict[str, Any]]:
        """
        ``{"batchId", "counts": {state: n}, "executions", "first", "last"}`` for each batch, newest first.

        ``counts`` is of newest attempts; ``first`` and ``last`` are the times of its first and last event in the log.
        A filter keeps the batches that have such an event.
        """
        return self._executions.batches(where, limit, offset)

    def stats(self) -> dict[str, Any]:
        """Figures of this moment: events, seqs, segments, bytes on disk, waiting, commits, and what is missing."""
        size = 0
        folders = [self.path / "segments", self.path / "archive"] if self._directory is not None else []
        for file in [file for folder in folders if folder.exists() for file in folder.iterdir()] or [self.path]:
            with contextlib.suppress(FileNotFoundError):  # a segment that was dropped meanwhile
                size += file.stat().st_size
        return {
            "epoch": self.epoch,
            "head": self.head,
            "oldest": self.oldest,
            "events": self._segments.rows(),
            "segments": self._segments.count,
            "bytes": size,
            "waiting": self._writer.waiting if self._writer is not None else 0,
            "commits": self._writer.commits if self._writer is not None else 0,
            "missing": [str(gone) for gone in self.missing],
        }

    # end

    def close(self) -> None:
        """Store what waits, close the files, release the lock; again is harmless."""
        if self._is_closed:
            return
        self._is_closed = True
        _open.discard(self)
        atexit.unregister(self.close)
        with contextlib.ExitStack() as last:  # each, whatever becomes of those before it
            if self._directory is not None:
                last.callback(self._directory.close)
            last.callback(self._segments.close)
            if self._upkeep is not None:
                last.callback(self._upkeep.close)
            if self._tail is not None:
                last.callback(self._tail.close)
            if self._writer is not None:
                self._writer.close()

    def _abandon(self) -> None:
        """In a forked child: the recording is the parent's."""
        self._is_closed, self._why = True, RecordingClosed.FORKED
        atexit.unregister(self.close)
        if self._writer is not None:
            self._writer.abandon()
        self._segments.abandon()
        if self._directory is not None:
            self._directory.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Recording {str(self.path)!r} {self.cursor()}>"

    # inside

    def _kept(self) -> Upkeep:
        if self._is_closed:
            raise RecordingClosed(str(self.path), self._why)
        if self._upkeep is None:
            raise RecordingReadOnly(str(self.path))
        return self._upkeep

    def _forget(self) -> None:
        if self._tail is not None:
            self._tail.forget()

    def _rotate(self) -> None:
        """Seal the newest segment, if it holds anything."""
        if self._tail is not None:
            try:
                self._tail.rotate()
            except (duckdb.Error, OSError) as error:
                raise RecordingFull(str(self.path), str(error).partition("\n")[0]) from error


_open: weakref.WeakSet[Recording] = weakref.WeakSet()


def _in_child() -> None:
    for recording in list(_open):
        recording._abandon()


os.register_at_fork(after_in_child=_in_child)
