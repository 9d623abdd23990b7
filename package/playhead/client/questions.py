"""
The questions of `playhead.frames`, asked of a query: answered from rows that are made where the events are.

Executions come ready from the log, the server's or the recording's, when the query keeps executions whole (it names no batch,
type, time or limit); for the rest the few columns that are needed are read. The arithmetic on them is done here: a server's
time belongs to those who watch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from playhead.events import Cursor

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from playhead.client.query import Answer, EventQuery

Rows = Callable[[datetime | str | Cursor | None], "pd.DataFrame"]


class Questions(ABC):
    """What `playhead.frames` answers of a frame, answered of a query, with equal results."""

    def __init__(self, filters: dict[str, Any], rows: Rows | None) -> None:
        self._filters, self._rows = filters, rows
        self._limit: int | None = filters.get("limit")

    @abstractmethod
    def answer(self, columns: Sequence[str] = (), after: str | None = None) -> Answer:
        """The rows, or some columns of them."""

    def executions(self) -> pd.DataFrame:
        """The executions that these events make, one row an attempt: as `playhead.frames.executions`."""
        from playhead.frames import executions_frame
        from playhead.frames.executions import NEEDED, attempts

        if self._rows is not None:
            return self._rows(None)
        answer = self.answer(NEEDED)
        rows = last = 0

        def counted() -> Iterator[pa.RecordBatch]:
            nonlocal rows, last
            for batch in answer.reader:
                rows, last = rows + batch.num_rows, batch.column("seq")[-1].as_py() if batch.num_rows else last
                yield batch

        table = attempts(counted())
        return executions_frame(table, cursor=answer.end(self._limit, rows, last), filters=self._filters)

    def state_at(self, at: datetime | str | Cursor) -> pd.DataFrame:
        """The executions of a time (as it happened) or a cursor (as it was known): as `playhead.frames.state_at`."""
        from playhead.frames import state_at
        from playhead.frames.executions import NEEDED

        if self._rows is not None and "at" not in self._filters:
            return self._rows(at)
        return state_at(self._frame(NEEDED), at)

    def batches(self) -> pd.DataFrame:
        """The batches that these events are of, newest first: as `playhead.frames.batches`."""
        from playhead.frames.executions import batches_of

        return batches_of(self.executions(), self._frame(("seq", "batch_id", "timestamp")))

    def concurrency(self) -> pd.DataFrame:
        """How many executions were running at each moment: as `playhead.frames.concurrency`."""
        from playhead.frames import concurrency

        return concurrency(self.executions())

    def throughput(self, every: str = "1min") -> pd.DataFrame:
        """What began and what ended in each stretch of time: as `playhead.frames.throughput`."""
        from playhead.frames import throughput

        return throughput(self.executions(), every)

    def durations(self, by: str | Sequence[str] = "site_name") -> pd.DataFrame:
        """How long executions took, and how many failed, by a column: as `playhead.frames.durations`."""
        from playhead.frames import durations

        return durations(self.executions(), by)

    def steps(self) -> pd.DataFrame:
        """How long executions were in each step: as `playhead.frames.steps`."""
        from playhead.frames import steps
        from playhead.frames.durations import OF_STEPS

        return steps(self._frame(OF_STEPS))

    def retries(self) -> pd.DataFrame:
        """The jobs that needed more than one attempt, and what the earlier ones cost: as `playhead.frames.retries`."""
        from playhead.frames import retries

        return retries(self.executions())

    def errors(self) -> pd.DataFrame:
        """Failures by message, with what varies folded away: as `playhead.frames.errors`."""
        from playhead.frames import errors

        return errors(self.executions())

    def stalled(self, after: str = "5min", *, at: datetime | str | None = None) -> pd.DataFrame:
        """The executions that run and have said nothing for long: as `playhead.frames.stalled`."""
        from playhead.frames import stalled
        from playhead.frames.executions import NEEDED

        return stalled(self._frame(NEEDED), after, at=at)

    def compare(self, other: EventQuery | pd.DataFrame, by: str | None = None, *, least: float = 0.1) -> pd.DataFrame:
        """How the executions of another query or frame differ from these: as `playhead.frames.compare`, these being ``a``."""
        from playhead.frames import compare

        return compare(self.executions(), other.executions() if isinstance(other, Questions) else other, by, least=least)

    def critical_path(self, batch_id: str | None = None) -> pd.DataFrame:
        """The chain of executions that a batch could not have ended sooner than: as `playhead.frames.critical_path`."""
        from playhead.frames import critical_path

        return critical_path(self.executions(), batch_id)

    def event_log(self) -> pd.DataFrame:
        """The events of jobs as pm4py reads them: as `playhead.frames.event_log`."""
        from playhead.frames import event_log
        from playhead.frames.paths import OF_LOG

        return event_log(self._frame(OF_LOG))

    def _frame(self, columns: Sequence[str]) -> pd.DataFrame:
        """Some columns of the events, ``seq`` among them, as a frame."""
        from playhead.frames import events_frame

        table, cursor = self.answer(columns).table(self._limit)
        return events_frame(table, cursor=cursor, filters=self._filters)
