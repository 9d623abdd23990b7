"""What every client can do, whatever is behind it: a server, or a recording in this process."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from playhead.client.follow import Follow, OnEvents, OnProvisional, OnReset, OnStatus, Watch
from playhead.client.jobs import Batch, Job, tamed
from playhead.client.query import Asked, EventQuery
from playhead.client.status import ConnectionState
from playhead.errors import InvalidEvent, PlayheadError
from playhead.events import Cursor, Event, Filter, NewEvent, new_event
from playhead.times import parse_time, time_text

if TYPE_CHECKING:
    import pandas as pd

Ids = str | Iterable[str] | None
_log = logging.getLogger("playhead.client")


def moment_text(at: str | datetime | Cursor | None) -> str | None:
    """``at`` as it goes over the wire: a cursor, or a time with a zone."""
    if at is None or isinstance(at, Cursor):
        return None if at is None else str(at)
    if isinstance(at, str):
        try:
            return str(Cursor.parse(at))
        except ValueError:
            return time_text(parse_time(at, "at"))
    return time_text(parse_time(at, "at"))


def checked_after(after: str | Cursor) -> str:
    """A position to follow from; raises InvalidCursor."""
    if isinstance(after, str) and after in ("start", "now"):
        return after
    return str(after if isinstance(after, Cursor) else Cursor.parse(after))


def checked_interval(seconds: float) -> float:
    """Seconds between polls; raises ValueError."""
    if not isinstance(seconds, int | float) or not 0.05 <= seconds <= 3600:
        raise ValueError(f"polling_interval is a number of seconds from 0.05 to 3600, not {seconds!r}")
    return float(seconds)


class Client(ABC):
    """Publish, follow, ask. Close it when done, or use it as a block."""

    url: str

    # publishing

    @abstractmethod
    def _put(self, event: NewEvent) -> None: ...

    @abstractmethod
    def flush(self, timeout: float | None = 5.0) -> bool:
        """Wait until what was published is with the log; False when ``timeout`` seconds are over first."""

    def publish(self, events: Mapping[str, Any] | Event | Iterable[Mapping[str, Any] | Event]) -> None:
        """
        Publish one event or several, in order; returns at once.

        Raises:
            InvalidEvent: one breaks a rule; none of them is published. Never because of the server.
        """
        several = [events] if isinstance(events, Mapping | Event) else list(events)
        for event in [new_event(fields, index) for index, fields in enumerate(several)]:
            self._put(event)

    def _emit(self, fields: dict[str, Any]) -> None:
        """Publish what a job says; a job is never broken by it."""
        try:
            try:
                event = new_event(fields)
            except InvalidEvent as error:
                _log.warning("playhead: %s; it is published without", error)
                event = new_event(fields | {"data": tamed(fields["data"])})
            self._put(event)
        except PlayheadError as error:
            _log.warning("playhead: not published: %s", error)

    def batch(self, batch_id: str, **data: Any) -> Batch:
        """A group of jobs, to be used as a block."""
        return Batch(self._emit, batch_id, data)

    def job(self, job_id: str, *, batch_id: str | None = None, execution_id: str | None = None, **data: Any) -> Job:
        """A job on its own, to be used as a block."""
        return Job(self._emit, job_id, batch_id, execution_id, data)

    # asking

    @abstractmethod
    def _events(self, where: Filter, at: str | None, limit: int | None) -> Asked: ...

    @abstractmethod
    def _executions(self, where: Filter, at: str | None, states: list[str], attempts: str) -> pd.DataFrame: ...

    @abstractmethod
    def batches(self) -> pd.DataFrame:
        """A row a batch, newest first: ``batch_id``, counts by state, ``executions``, ``first``, ``last`` (UTC)."""

    @abstractmethod
    def stats(self) -> dict[str, Any]:
        """
        Figures of this moment: ``head``, ``events``, ``segments``, ``bytes``; of a server also its sockets and counts; with an
        organisation's token only ``epoch``, ``oldest``, ``head``, ``events`` and ``organizationId``.
        """

    def events(
        self, *, execution_id: Ids = None, batch_id: Ids = None, job_id: Ids = None, type: Ids = None,
        since: str | datetime | None = None, until: str | datetime | None = None,
        at: str | datetime | Cursor | None = None, limit: int | None = None,
    ) -> EventQuery:  # fmt: skip
        """Events by filters, ``[since, until)`` by timestamp, ``at`` a past moment; nothing is read until it is used."""
        where = Filter.make(
            execution_id=execution_id, batch_id=batch_id, job_id=job_id, type=type, since=since, until=until
        )
        if limit is not None and (not isinstance(limit, int) or limit < 0):
            raise ValueError(f"limit is a whole number from 0, or None for all, not {limit!r}")
        moment = moment_text(at)
        filters = where.describe() | ({"at": moment} if moment else {}) | ({"limit": limit} if limit is not None else {})
        keeps_executions = limit is None and not (where.batch_id or where.type or where.since or where.until)

        def rows(as_of: str | datetime | Cursor | None) -> pd.DataFrame:
            return self._executions(where, moment if as_of is None else moment_text(as_of), [], "all")

        return EventQuery(self._events(where, moment, limit), filters, rows if keeps_executions else None)

    def executions(
        self, *, execution_id: Ids = None, batch_id: Ids = None, job_id: Ids = None, type: Ids = None,
        since: str | datetime | None = None, until: str | datetime | None = None, state: Ids = None,
        at: str | datetime | Cursor | None = None, attempts: Literal["all", "last"] = "all",
    ) -> pd.DataFrame:  # fmt: skip
        """An executions frame, one row an attempt, as of ``at`` (a time: as it happened; a cursor: as it was known)."""
        where = Filter.make(
            execution_id=execution_id, batch_id=batch_id, job_id=job_id, type=type, since=since, until=until
        )
        states = [state] if isinstance(state, str) else list(state or ())
        if attempts not in ("all", "last"):
            raise ValueError(f"attempts is 'all' or 'last', not {attempts!r}")
        return self._executions(where, moment_text(at), states, attempts)

    # following

    @abstractmethod
    def _watch(
        self, where: Filter, after: str, on_events: OnEvents, on_status: OnStatus | None, on_reset: OnReset | None,
        polling_interval: float, on_provisional: OnProvisional | None,
    ) -> Watch: ...  # fmt: skip

    def watch(
        self, *, on_events: OnEvents, on_status: OnStatus | None = None, on_reset: OnReset | None = None,
        on_provisional: OnProvisional | None = None, after: str | Cursor = "now", polling_interval: float = 5.0,
        execution_id: Ids = None, batch_id: Ids = None, job_id: Ids = None, type: Ids = None,
    ) -> Watch:  # fmt: skip
        """
        Follow by callbacks, in another thread, which must not wait in them.

        Args:
            on_events: Called with events and the cursor after them; also with no event when the cursor moves.
            on_status: Called with each change of the connection.
            on_reset: Called with ``epoch`` or ``trimmed`` when the position is no longer held: what was built from the
                events so far is of another log, or has a gap; it is read on from the oldest event. Without it the watch
                ends with `CursorGone` as its ``error``.
            on_provisional: Called with events that a server of several has taken while Redis is away: their ``seq`` is 0, the
                cursor does not move, and each comes again, with its seq, to ``on_events``.
            after: ``start``, ``now`` or a cursor.
            polling_interval: Seconds between two polls, where neither a WebSocket nor a stream gets through.
        """
        where = Filter.make(execution_id=execution_id, batch_id=batch_id, job_id=job_id, type=type)
        interval = checked_interval(polling_interval)
        return self._watch(where, checked_after(after), on_events, on_status, on_reset, interval, on_provisional)

    def follow(
        self, *, after: str | Cursor = "now", execution_id: Ids = None, batch_id: Ids = None, job_id: Ids = None,
        type: Ids = None, polling_interval: float = 5.0,
    ) -> Follow:  # fmt: skip
        """
        Events past ``after`` (``start``, ``now`` or a cursor), each once and in order, then each that comes.

        It begins at once, reconnects and resumes by itself, and reads no further than 10,000 events ahead of the loop.

        Raises:
            CursorGone: from the loop, when the position is of another log or was deleted; it says where to begin again.
            AccessDenied, RequestRefused: from the loop, when trying again cannot help.
        """
        return Follow(
            lambda on_events, on_status: self.watch(
                on_events=on_events, on_status=on_status, after=after, execution_id=execution_id, batch_id=batch_id,
                job_id=job_id, type=type, polling_interval=polling_interval,
            )
        )  # fmt: skip

    @property
    @abstractmethod
    def status(self) -> ConnectionState:
        """What is known of the connection."""

    @abstractmethod
    def on_status(self, callback: OnStatus) -> Callable[[], None]:
        """Be told of each change of the connection; returns the way out."""

    @abstractmethod
    def close(self) -> None:
        """Send what is left (for at most 5 s) and end; again is harmless."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"
