"""One definition of an execution's state, several implementations, one answer."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from playhead.events import JOB_TYPES, Cursor
from playhead.recording import Recording
from playhead.state import Executions

_START = datetime(2026, 1, 1, tzinfo=UTC)
_DATA = st.fixed_dictionaries(
    {},
    optional={
        "progressPercentage": st.sampled_from([0, 45, 45.0, 100, 101, "x", None, True]),
        "currentStep": st.sampled_from(["one", "two", 3]),
        "goal": st.sampled_from(["g", None]),
        "error": st.sampled_from(["boom", 7, {"a": 1}]),
    },
)
_EVENT = st.fixed_dictionaries(
    {
        "type": st.sampled_from([*JOB_TYPES, "job_started", "batch_started", "custom"]),
        "jobId": st.sampled_from(["a", "b", None]),
        "executionId": st.sampled_from(["x", None]),
        "batchId": st.sampled_from(["p", "q", None]),
        "timestamp": st.integers(0, 50).map(lambda second: _START + timedelta(seconds=second)),
        "data": _DATA,
    }
)


def rows_of(executions: Executions) -> list[dict[str, Any]]:
    return [msgspec.structs.asdict(row) for row in executions.rows()]


def rows_of_sql(recording: Recording, **asked: Any) -> list[dict[str, Any]]:
    rows = recording.executions(**asked).to_pylist()
    for row in rows:
        duration = row.pop("duration")
        row["duration_ms"] = None if duration is None else duration.total_seconds() * 1000
    return rows


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.lists(_EVENT, min_size=1, max_size=25), min_size=1, max_size=2), st.integers(0, 30), st.integers(0, 50)
)
def test_incremental_and_sql_agree(groups: list[list[dict[str, Any]]], seq: int, second: int) -> None:
    """For random events in random order: every attempt, at the head, at a cursor and at a time."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Recording.open(Path(folder) / "a.playhead", segment_events=20) as recording,
    ):
        for group in groups:
            recording.append(group)
        events = recording.read(limit=None)
        assert rows_of_sql(recording) == rows_of(Executions(events))
        known = [event for event in events if event.seq <= seq]
        assert rows_of_sql(recording, at=Cursor(recording.epoch, seq)) == rows_of(Executions(known))
        moment = _START + timedelta(seconds=second)
        happened = [event for event in events if event.timestamp <= moment]
        assert rows_of_sql(recording, at=moment) == rows_of(Executions(happened))


def story(*types: str) -> list[tuple[int, str, bool, bool]]:
    """(attempt, state, has a start, has a duration) of what the types make of one job."""
    with tempfile.TemporaryDirectory() as folder, Recording.open(Path(folder) / "a.playhead") as recording:
        recording.append(
            [{"type": kind, "jobId": "j", "timestamp": _START + timedelta(seconds=n)} for n, kind in enumerate(types)]
        )
        rows = Executions(recording.read()).rows()
    return [(row.attempt, row.state, row.started is not None, row.duration_ms is not None) for row in rows]


def test_the_rules_of_attempts() -> None:
    """The sentences of the contract, one by one."""
    assert story("job_completed") == [(1, "completed", False, False)]
    assert story("job_started", "job_completed", "job_progress") == [(1, "completed", True, True)]
    assert story("job_started", "job_failed", "job_started") == [(1, "failed", True, True), (2, "running", True, False)]
    assert story("job_started", "job_started", "job_queued") == [(1, "running", True, False)]
    assert story("job_started", "job_failed", "job_completed") == [(1, "failed", True, True)]
    assert story("job_progress", "job_failed") == [(1, "failed", False, False)]
    assert story("job_queued") == [(1, "queued", False, False)]
    assert story("batch_started", "anything") == []
