"""Whatever is done to a log, every way to ask it agrees with a plain list."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from playhead.events import JOB_TYPES, Cursor, Event, Filter
from playhead.recording import Recording
from playhead.state import Executions

_START = datetime(2026, 1, 1, tzinfo=UTC)
_NEW = st.fixed_dictionaries(
    {
        "type": st.sampled_from([*JOB_TYPES, "note"]),
        "jobId": st.sampled_from(["a", "b", "c", None]),
        "executionId": st.sampled_from(["x", "y", None]),
        "batchId": st.sampled_from(["p", "q", None]),
        "timestamp": st.integers(0, 60).map(lambda second: _START + timedelta(seconds=second)),
    }
)
_DO = st.one_of(
    st.tuples(st.just("append"), st.lists(_NEW, min_size=1, max_size=9)),
    st.tuples(st.just("append"), st.lists(_NEW, min_size=1, max_size=9)),
    st.tuples(st.just("delete"), st.integers(0, 70)),
    st.tuples(st.just("reopen"), st.none()),
    st.tuples(st.just("again"), st.integers(0, 30)),
)
_ids = st.lists(st.sampled_from(["a", "b", "c", "p", "q", "x", "y", "none"]), min_size=1, max_size=3)
_ASK = st.fixed_dictionaries(
    {},
    optional={
        "job_id": _ids, "batch_id": _ids, "execution_id": _ids,
        "type": st.lists(st.sampled_from(["job_started", "job_failed", "note"]), min_size=1, max_size=2),
        "since": st.integers(0, 60).map(lambda second: _START + timedelta(seconds=second)),
        "until": st.integers(0, 70).map(lambda second: _START + timedelta(seconds=second)),
    },
)  # fmt: skip
_PAGE = st.fixed_dictionaries(
    {
        "after": st.none() | st.integers(0, 60),
        "limit": st.none() | st.integers(0, 25),
        "offset": st.integers(0, 12),
        "descending": st.booleans(),
    }
)


def page_of(events: list[Event], after: int | None, limit: int | None, offset: int, descending: bool) -> list[Event]:
    if after is not None:
        events = [event for event in events if (event.seq < after if descending else event.seq > after)]
    events = events[::-1] if descending else events
    return events[offset:] if limit is None else events[offset : offset + limit]


def check(recording: Recording, log: list[Event], asked: dict[str, Any], page: dict[str, Any], at: int) -> None:
    where = Filter.make(**asked)
    matching = [event for event in log if where.matches(event)]
    wanted = page_of(matching, **page)
    assert recording.read(where=where, **page) == wanted
    assert recording.arrow(where, **page).read_all()["seq"].to_pylist() == [event.seq for event in wanted]
    assert recording.read(**page) == page_of(log, **page)
    assert recording.count(where) == len(matching)
    assert recording.count(after=page["after"] or 0) == len([one for one in log if one.seq > (page["after"] or 0)])
    cursor, moment = Cursor(recording.epoch, at), _START + timedelta(seconds=at)
    assert recording.read(where=where, at=cursor, limit=None) == [event for event in matching if event.seq <= at]
    assert recording.read(where=where, at=moment, limit=None) == [one for one in matching if one.timestamp <= moment]
    for name in ("p", "q"):
        rows = Executions([event for event in log if event.seq <= at]).rows()
        found = recording.executions(Filter.make(batch_id=name), at=cursor).to_pylist()
        told = [(row["execution_id"], row["job_id"], row["attempt"], row["state"], row["events"]) for row in found]
        assert told == [
            (row.execution_id, row.job_id, row.attempt, row.state, row.events) for row in rows if row.batch_id == name
        ]
    newest = Executions(log).newest()
    counted = {batch["batchId"]: batch["executions"] for batch in recording.batches()}
    assert counted == {
        name: sum(row.batch_id == name for row in newest) for name in {one.batch_id for one in log if one.batch_id}
    }


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_DO, min_size=1, max_size=12), st.lists(st.tuples(_ASK, _PAGE, st.integers(0, 60)), min_size=1, max_size=4))
def test_every_answer_is_that_of_a_list(
    deeds: list[tuple[str, Any]], questions: list[tuple[dict[str, Any], dict[str, Any], int]]
) -> None:
    """Appends over segments, deletions, openings, second publications: pages, streams, counts, states, batches."""
    log: list[Event] = []
    with tempfile.TemporaryDirectory() as folder:
        recording = Recording.open(Path(folder) / "a.playhead", segment_events=11)
        try:
            recording.subscribe(log.extend)
            for deed, given_ in deeds:
                if deed == "append":
                    recording.append(given_)
                elif deed == "again" and log:
                    recording.append(log[given_ % len(log) :][:3])
                elif deed == "delete":
                    than = _START + timedelta(seconds=given_)
                    gone = [event for event in log if event.timestamp < than]
                    assert recording.delete_older(than) == len(gone)
                    log[:] = [event for event in log if event.timestamp >= than]
                elif deed == "reopen":
                    recording.close()
                    recording = Recording.open(Path(folder) / "a.playhead", segment_events=11)
                    recording.subscribe(log.extend)
                for asked, page, at in questions:
                    check(recording, log, asked, page, at)
        finally:
            recording.close()
