"""What every client can do, whatever is behind it: a server, or a recording in this process."""

from __future__ import annotations

import logging
import queue
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from playhead.client.jobs import Batch, Job
from playhead.client.query import EventQuery
from playhead.client.status import ConnectionState
from playhead.errors import InvalidEvent, PlayheadError
from playhead.events import Cursor, Event, Filter, NewEvent, new_event, parse_time, time_text

if TYPE_CHECKING:
    import pandas as pd

OnEvents = Callable[[list[Event], str], None]
OnStatus = Callable[[ConnectionState], None]
Ids = str | Iterable[str] | None
_log = logging.getLogger("playhead.client")
_WAITING = 1000


class Watch(Protocol):
    """A reader that follows until it is closed."""

    status: ConnectionState
    error: PlayheadError | None

    @property
    def cursor(self) -> str:
        """The position up to which everything was given on."""

    def close(self) -> None:
        """Stop; again is harmless."""


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
            self._put(new_event(fields))
        except InvalidEvent as error:
            _log.warning("playhead: not published: %s", error)
        except PlayheadError as error:
            _log.warning("playhead: %s", error)

    def batch(self, batch_id: str, **data: Any) -> Batch:
        """A group of jobs, to be used as a block."""
        return Batch(self._emit, batch_id, data)

    def job(self, job_id: str, *, batch_id: str | None = None, execution_id: str | None = None, **data: Any) -> Job:
        """A job on its own, to be used as a block."""
        return Job(self._emit, job_id, batch_id, execution_id, data)

    # asking

    @abstractmethod
    def _events(self, where: Filter, at: str | None, limit: int | None) -> EventQuery: ...

    @abstractmethod
    def _executions(self, where: Filter, at: str | None, states: list[str], attempts: str) -> pd.DataFrame: ...

    @abstractmethod
    def batches(self) -> pd.DataFrame:
        """A row a batch, newest first: ``batch_id``, counts by state, ``executions``, ``first``, ``last`` (UTC)."""

    def events(
        self, *, execution_id: Ids = None, batch_id: Ids = None, job_id: Ids = None, type: Ids = None,
        since: str | datetime | None = None, until: str | datetime | None = None,
        at: str | datetime | Cursor | None = None, limit: int | None = None,
    ) -> EventQuery:  # fmt: skip
        """Events by filters, ``[since, until)`` by timestamp, ``at`` a past moment; nothing is read until it is used."""
        where = Filter.make(
            execution_id=execution_id, batch_id=batch_id, job_id=job_id, type=type, since=since, until=until
        )
        return self._events(where, moment_text(at), limit)

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
        return self._executions(where, moment_text(at), states, attempts)

    # following

    @abstractmethod
    def _watch(
        self, where: Filter, after: str, on_events: OnEvents, on_status: OnStatus | None,
        on_reset: Callable[[str], None] | None, polling_interval: float,
    ) -> Watch: ...  # fmt: skip

    def watch(
        self, *, on_events: OnEvents, on_status: OnStatus | None = None, on_reset: Callable[[str], None] | None = None,
        after: str = "now", polling_interval: float = 5.0, execution_id: Ids = None, batch_id: Ids = None,
        job_id: Ids = None, type: Ids = None,
    ) -> Watch:  # fmt: skip
        """
        Follow by callbacks, in another thread: ``on_events(events, cursor)``, also with no event when the cursor moves.

        ``on_reset(reason)`` is called when the position is no longer held; it is read on from the oldest then.
        """
        where = Filter.make(execution_id=execution_id, batch_id=batch_id, job_id=job_id, type=type)
        if after not in ("start", "now"):
            Cursor.parse(after)
        return self._watch(where, after, on_events, on_status, on_reset, polling_interval)

    def follow(
        self, *, after: str = "now", execution_id: Ids = None, batch_id: Ids = None, job_id: Ids = None,
        type: Ids = None, polling_interval: float = 5.0,
    ) -> Iterator[Event]:  # fmt: skip
        """
        Events past ``after`` (``start``, ``now`` or a cursor), each once and in order, then each that comes.

        Reconnects and resumes by itself; ends by AccessDenied or RequestRefused when trying again cannot help.
        """
        box: queue.Queue[list[Event] | None] = queue.Queue(_WAITING)

        def told(state: ConnectionState) -> None:
            if watch_error():
                box.put(None)

        def watch_error() -> PlayheadError | None:
            return holder[0].error if holder else None

        holder: list[Watch] = []
        watch = self.watch(
            on_events=lambda events, cursor: box.put(events), on_status=told, after=after, execution_id=execution_id,
            batch_id=batch_id, job_id=job_id, type=type, polling_interval=polling_interval,
        )  # fmt: skip
        holder.append(watch)
        try:
            while True:
                try:
                    events = box.get(timeout=1.0)
                except queue.Empty:
                    events = []
                if watch.error is not None and not events and box.empty():
                    raise watch.error
                yield from events or ()
        finally:
            watch.close()
            while not box.empty():  # a callback that waits for room ends
                box.get_nowait()

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
