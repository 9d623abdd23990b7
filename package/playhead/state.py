"""
What events make of an execution: the one definition, event by event.

The rules, for the events of one (executionId, jobId) pair in log order, `JOB_TYPES` with a ``jobId`` only:

- a ``job_started`` after an end opens the next attempt; everything else belongs to the attempt that is open or ended;
- the first ``job_started``, ``job_progress`` before the end makes it *running*; only a start that comes first gives
  it ``started``; what comes before is *queued*;
- the first end of an attempt ends it; later events are counted and change nothing else;
- a start while running, a ``job_queued`` that is not the first, or comes after it runs: counted, nothing else;
- ``progress``, ``step``, ``url``, names and goal are the last ones told by an event that counts for more than that.

`Executions` applies them event by event; `playhead.attempts.fold` a column at a time. One property test holds the two
together (tests/test_state.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import msgspec

from playhead.columns import known_fields
from playhead.events import JOB_TYPES, START_TYPE, Event

State = Literal["queued", "running", "completed", "failed", "cancelled"]
STATES: tuple[State, ...] = ("queued", "running", "completed", "failed", "cancelled")
ACTIVE: tuple[State, ...] = ("queued", "running")
_ENDS: dict[str, State] = {"job_completed": "completed", "job_failed": "failed", "job_cancelled": "cancelled"}


class Execution(msgspec.Struct, rename="camel"):
    """One attempt of a job. Times are UTC; ``duration_ms`` is ended - started; ``progress`` 0-100 as last told."""

    execution_id: str | None
    job_id: str
    batch_id: str | None
    attempt: int
    state: State = "queued"
    queued: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    duration_ms: float | None = None
    progress: float | None = None
    step: str | None = None
    url: str | None = None
    site_name: str | None = None
    site_url: str | None = None
    goal: str | None = None
    error: str | None = None
    events: int = 0
    first_seq: int = 0
    last_seq: int = 0


class Executions:
    """The executions that a sequence of events makes, kept up to date event by event."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._attempts: dict[tuple[str | None, str], list[Execution]] = {}
        for event in events:
            self.apply(event)

    def go_on_from(self, rows: Iterable[Execution]) -> None:
        """Take over executions at a position, of each pair the newest attempt; events after it are then applied."""
        for row in rows:
            self._attempts[(row.execution_id, row.job_id)] = [row]

    def apply(self, event: Event) -> Execution | None:
        """The execution that the event belongs to, updated in place; None when it makes none. Call in log order."""
        if event.job_id is None or event.type not in JOB_TYPES:
            return None
        attempts = self._attempts.setdefault((event.execution_id, event.job_id), [])
        if not attempts or (event.type == START_TYPE and attempts[-1].state in _ENDS.values()):
            number = attempts[-1].attempt + 1 if attempts else 1
            attempts.append(Execution(event.execution_id, event.job_id, event.batch_id, number, first_seq=event.seq))
        row = attempts[-1]
        row.events += 1
        row.last_seq = event.seq
        if _advance(row, event):
            _tell(row, event)
        return row

    def newest_of(self, execution_id: str | None, job_id: str) -> Execution | None:
        """The newest attempt of one pair."""
        attempts = self._attempts.get((execution_id, job_id))
        return attempts[-1] if attempts else None

    def rows(self) -> list[Execution]:
        """Every attempt, in order of ``first_seq``."""
        return sorted((row for rows in self._attempts.values() for row in rows), key=lambda row: row.first_seq)

    def newest(self) -> list[Execution]:
        """The newest attempt of each pair, in order of ``first_seq``."""
        return sorted((rows[-1] for rows in self._attempts.values()), key=lambda row: row.first_seq)


def _advance(row: Execution, event: Event) -> bool:
    """Move the row's state on; False when the event changes nothing."""
    kind = event.type
    if row.ended is not None:
        return False
    if kind in _ENDS:
        row.state, row.ended = _ENDS[kind], event.timestamp
        if row.started is not None:
            row.duration_ms = (event.timestamp - row.started).total_seconds() * 1000
        error = event.data.get("error")
        if kind != "job_completed" and isinstance(error, str):
            row.error = error
    elif kind == START_TYPE:
        if row.state == "running":
            return False
        row.state, row.started = "running", event.timestamp
    elif kind == "job_progress":
        row.state = "running"
    elif kind == "job_queued":
        if row.state == "running" or row.queued is not None:
            return False
        row.queued = event.timestamp
    return True


def _tell(row: Execution, event: Event) -> None:
    if not event.data:
        return
    site_url, site_name, goal, step, url, progress = known_fields(event.data)
    if progress is not None:
        row.progress = progress
    if step is not None:
        row.step = step
    if url is not None:
        row.url = url
    if site_name is not None:
        row.site_name = site_name
    if site_url is not None:
        row.site_url = site_url
    if goal is not None:
        row.goal = goal
