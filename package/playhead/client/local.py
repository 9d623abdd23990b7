"""A client of a recording in this process: the same methods, no server."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any

from playhead.client.api import Client
from playhead.client.follow import OnEvents, OnProvisional, OnReset, OnStatus
from playhead.client.query import Answer, Asked
from playhead.client.remote import batches_frame
from playhead.client.status import ConnectionState
from playhead.errors import CursorGone, PlayheadError, QueueFull, RecordingDamaged
from playhead.events import Cursor, Filter, NewEvent
from playhead.recording import Appended, Recording
from playhead.times import now, parse_time, time_text

if TYPE_CHECKING:
    import pandas as pd

    from playhead.recording.history import At

_log = logging.getLogger("playhead.client")
_PAGE = 1000
_ENDS_S = 5.0


def _moment(at: str | None) -> At:
    if at is None:
        return None
    try:
        return Cursor.parse(at)
    except ValueError:
        return parse_time(at, "at")


class LocalClient(Client):
    """The methods of a client over a `Recording` that this process has open."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.recording = Recording.open(path)
        self.url = str(self.recording.path)
        self._since = now()
        self._last: Future[Appended] | None = None
        self._watches: weakref.WeakSet[_LocalWatch] = weakref.WeakSet()  # those that run, their threads hold

    def _put(self, event: NewEvent) -> None:
        try:
            self._last = self.recording.submit([event])
        except QueueFull:  # no other process to wait for: the disk sets the pace
            self.flush(None)
            self._last = self.recording.submit([event])
        self._last.add_done_callback(_log_failure)

    def flush(self, timeout: float | None = 5.0) -> bool:
        last = self._last
        return last is None or not wait([last], timeout).not_done

    def _events(self, where: Filter, at: str | None, limit: int | None) -> Asked:
        moment = _moment(at)

        def ask(columns: Sequence[str], after: str | None) -> Answer:
            head = self.recording.head
            if isinstance(moment, Cursor):
                head = min(head, self.recording.check(moment))
            begin = None if after is None else self.recording.check(Cursor.parse(after))
            reader = self.recording.arrow(where, at=moment, after=begin, upto=head, limit=limit, columns=columns)
            return Answer(reader, str(self.recording.cursor(head)))

        def count() -> int:
            found = self.recording.count(where, moment)
            return found if limit is None else min(found, limit)

        return Asked(ask, count)

    def _executions(self, where: Filter, at: str | None, states: list[str], attempts: str) -> pd.DataFrame:
        from playhead.frames import executions_frame

        moment, head = _moment(at), self.recording.cursor()
        if isinstance(moment, Cursor):
            self.recording.check(moment)
            head = min(moment, head)
        table = self.recording.executions(
            where, states=states, at=moment or head, attempts="last" if attempts == "last" else "all"
        )
        filters = where.describe() | ({"at": at} if at else {}) | ({"state": states} if states else {})
        return executions_frame(table, cursor=str(head), filters=filters)

    def batches(self) -> pd.DataFrame:
        rows = self.recording.batches()
        for row in rows:
            row["first"], row["last"] = time_text(row["first"]), time_text(row["last"])
        return batches_frame(rows)

    def stats(self) -> dict[str, Any]:
        return self.recording.stats()

    def _watch(
        self, where: Filter, after: str, on_events: OnEvents, on_status: OnStatus | None, on_reset: OnReset | None,
        polling_interval: float, on_provisional: OnProvisional | None,
    ) -> _LocalWatch:  # fmt: skip
        watch = _LocalWatch(self.recording, where, after, on_events, on_status, on_reset)
        self._watches.add(watch)
        return watch

    @property
    def status(self) -> ConnectionState:
        return ConnectionState("connected", "recording", 0, self._since, f"the recording {self.url}")

    def on_status(self, callback: OnStatus) -> Callable[[], None]:
        callback(self.status)
        return lambda: None

    def close(self) -> None:
        for watch in list(self._watches):
            watch.close()
        self.recording.close()


def _log_failure(done: Future[Appended]) -> None:
    error = None if done.cancelled() else done.exception()
    if error is not None:
        _log.error("playhead: an event was not stored: %s", error)


class _LocalWatch:
    """A thread that reads on whenever the recording has grown."""

    def __init__(
        self, recording: Recording, where: Filter, after: str, on_events: OnEvents, on_status: OnStatus | None,
        on_reset: OnReset | None,
    ) -> None:  # fmt: skip
        self._recording, self._where = recording, where
        self._on_events, self._on_status, self._on_reset = on_events, on_status, on_reset
        self.error: PlayheadError | None = None
        self.is_closed = False
        self._since = now()
        self._over: list[Callable[[], None]] = []
        if after in ("start", "now"):
            self._at = recording.cursor(recording.oldest - 1 if after == "start" else recording.head)
        else:
            self._at = Cursor.parse(after)
        self._bell, self._may_read = threading.Event(), threading.Event()
        self._may_read.set()
        self._leave = recording.subscribe(lambda events: self._bell.set())
        if on_status is not None:
            on_status(self.status)
        self._thread = threading.Thread(target=self._run, name="playhead-watch", daemon=True)
        atexit.register(self.close)  # before the recording: a thread inside DuckDB while a program ends takes it down
        self._thread.start()

    @property
    def status(self) -> ConnectionState:
        if self.is_closed:
            return ConnectionState("disconnected", "recording", 0, self._since, "closed")
        if self.error is not None:
            return ConnectionState("disconnected", "recording", 0, self._since, str(self.error))
        return ConnectionState("connected", "recording", 0, self._since, f"the recording {self._recording.path}")

    @property
    def cursor(self) -> str:
        return str(self._at)

    def when_over(self, callback: Callable[[], None]) -> None:
        self._over.append(callback)
        if self.is_closed or self.error is not None:
            callback()

    def pause(self) -> None:
        self._may_read.clear()

    def resume(self) -> None:
        self._may_read.set()

    def close(self) -> None:
        if self.is_closed:
            return
        self.is_closed, self._since = True, now()
        atexit.unregister(self.close)
        self._leave()
        self._may_read.set()
        self._bell.set()
        if self._thread is not threading.current_thread():
            self._thread.join(_ENDS_S)
        if self._on_status is not None:
            self._on_status(self.status)
        for callback in self._over:
            callback()

    def _run(self) -> None:
        while not self.is_closed:
            self._may_read.wait()
            self._bell.clear()
            try:
                self._read()
            except CursorGone as gone:
                if self._on_reset is None:
                    self._fail(gone)
                    return
                self._at = gone.oldest
                self._on_reset(gone.reason)
                continue
            except Exception as error:
                if not self.is_closed:
                    _log.exception("following %s ended", self._recording.path)
                    self._fail(RecordingDamaged(str(self._recording.path), str(error)))
                return
            if self._at.seq >= self._recording.head:
                self._bell.wait()

    def _read(self) -> None:
        seq = self._recording.check(self._at)
        head = self._recording.head
        events = self._recording.read(seq, upto=head, where=self._where, limit=_PAGE)
        self._recording.check(self._at)  # what was deleted meanwhile would be skipped unsaid
        self._at = self._recording.cursor(events[-1].seq if len(events) == _PAGE else max(head, seq))
        self._on_events(events, self.cursor)

    def _fail(self, error: PlayheadError) -> None:
        self.error, self._since = error, now()
        self._leave()
        if self._on_status is not None:
            self._on_status(self.status)
        for callback in self._over:
            callback()
