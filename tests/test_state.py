"""One definition of an execution's state, several implementations, one answer."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from playhead import attempts
from playhead.attempts import ATTEMPTS, fold
from playhead.columns import to_arrow
from playhead.events import JOB_TYPES, Cursor, Event
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
_NAMES = ("siteUrl", "siteName", "currentUrl", "message")
_ONE = st.builds(
    Event,
    seq=st.just(0),
    id=st.just(str(UUID(int=0))),
    type=st.sampled_from([*JOB_TYPES, "job_started", "job_completed", "batch_started", "job_else"]),
    timestamp=st.integers(0, 50).map(lambda second: _START + timedelta(seconds=second)),
    execution_id=st.sampled_from(["x", "x", None]),
    batch_id=st.sampled_from(["p", "q", None]),
    job_id=st.sampled_from(["a", "a", "a", "b", None]),
    organization_id=st.sampled_from(["o", "o", "o", "o", "u", None]),
    data=st.builds(dict.__or__, _DATA, st.dictionaries(st.sampled_from(_NAMES), st.sampled_from(["s", "t", 1]))),
    created_at=st.just(_START),
)
# lists without a least length are short, and a story takes some events
_EVENTS = st.one_of(st.lists(_ONE, max_size=50), st.lists(_ONE, min_size=20, max_size=50)).map(
    lambda events: [msgspec.structs.replace(event, seq=seq) for seq, event in enumerate(events, 7)]
)


def rows_of(executions: Executions) -> list[dict[str, Any]]:
    return [msgspec.structs.asdict(row) for row in executions.rows()]


def plain(table: pa.Table) -> list[dict[str, Any]]:
    """An executions table as rows like those of `rows_of`."""
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        duration = row.pop("duration")
        row["duration_ms"] = None if duration is None else duration.total_seconds() * 1000
    return rows


def rows_of_sql(recording: Recording, **asked: Any) -> list[dict[str, Any]]:
    return plain(recording.executions(**asked))


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


def table_of(events: Sequence[Event], wanted: Sequence[bool], form: str) -> pa.Table:
    """What `fold` reads, in a form that a caller may have it in."""
    table = to_arrow(events).drop_columns(["id", "data"])
    errors = [event.data.get("error") if event.type in ("job_failed", "job_cancelled") else None for event in events]
    table = table.append_column("error", pa.array([one if isinstance(one, str) else None for one in errors], pa.string()))
    table = table.append_column("wanted", pa.array(wanted, pa.bool_()))
    if form == "chunks":
        return pa.concat_tables([table[:3], table[3:4], table[4:]])
    if form == "slice":
        return pa.concat_tables([table[:1], table]).combine_chunks()[min(len(table), 1) :]
    if form == "plain":
        return table
    kind = pa.large_string() if form == "large" else pa.dictionary(pa.int32(), pa.string())
    kinds = {pa.string(): kind, pa.timestamp("us"): pa.timestamp("us", tz="Europe/Paris")}
    return table.cast(pa.schema([(field.name, kinds.get(field.type, field.type)) for field in table.schema]))


def looped(events: Sequence[Event], wanted: Sequence[bool]) -> list[dict[str, Any]]:
    """What `fold` should give, by `Executions` and a plain loop."""
    executions = Executions()
    rows: dict[int, dict[str, Any]] = {}
    pairs: dict[tuple[str | None, str], list[Event]] = {}
    for event, is_wanted in zip(events, wanted, strict=True):
        execution = executions.apply(event)
        if execution is None:
            continue
        pairs.setdefault((execution.execution_id, execution.job_id), []).append(event)
        row = rows.setdefault(execution.first_seq, {"end_seq": None, "is_wanted": False})
        if row["end_seq"] is None and execution.ended is not None:
            row["end_seq"] = event.seq
        row["is_wanted"] = row["is_wanted"] or is_wanted
    newest = {execution.first_seq for execution in executions.newest()}
    for row in rows_of(executions):
        its = pairs[row["execution_id"], row["job_id"]]
        owners = {event.organization_id for event in its}
        facts = {"pair_first_seq": its[0].seq, "organization_id": its[0].organization_id, "is_mixed": len(owners) > 1}
        rows[row["first_seq"]] |= row | facts | {"is_newest": row["first_seq"] in newest}
    return [rows[seq] for seq in sorted(rows)]


def folded(events: Sequence[Event], wanted: Sequence[bool], cuts: Iterable[int], forms: Sequence[str]) -> list[dict[str, Any]]:
    """What `fold` gives piece by piece; of a pair's older attempts is_mixed is that of its newest, as it says."""
    before, kept = None, {}
    places = [0, *sorted(cuts), len(events)]
    for piece, (start, end) in enumerate(itertools.pairwise(places)):
        table = fold(table_of(events[start:end], wanted[start:end], forms[piece % len(forms)]), before)
        assert table.schema == ATTEMPTS
        assert table["first_seq"].to_pylist() == sorted(table["first_seq"].to_pylist())
        table.validate(full=True)
        kept |= {row["first_seq"]: row for row in plain(table)}
        before = table.filter(table["is_newest"]).sort_by([("last_seq", "descending")])
    rows = [kept[seq] for seq in sorted(kept)]
    mixed = {(row["execution_id"], row["job_id"]): row["is_mixed"] for row in rows if row["is_newest"]}
    return [row | {"is_mixed": mixed[row["execution_id"], row["job_id"]]} for row in rows]


_FORMS = st.lists(st.sampled_from(["plain", "chunks", "slice", "large", "dictionary"]), min_size=1, max_size=3)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_EVENTS, st.lists(st.booleans(), min_size=50, max_size=50), st.lists(st.integers(0, 50), max_size=4), _FORMS)
def test_incremental_and_fold_agree(events: list[Event], wanted: list[bool], cuts: list[int], forms: list[str]) -> None:
    """For random events, at once and in pieces that each continue the newest attempts of those before."""
    wanted = wanted[: len(events)]
    expected = looped(events, wanted)
    assert folded(events, wanted, [], forms) == expected
    assert folded(events, wanted, [min(cut, len(events)) for cut in cuts], forms) == expected


def test_a_fold_may_have_more_rows_than_keys_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a number for each execution, job and row would not be an int64, pairs are numbered first."""
    names = [("x", "a"), (None, "a"), ("y", "b"), ("x", "b"), ("x", "a"), ("y", "b")]
    events = [
        Event(seq, str(UUID(int=seq)), "job_started", _START, execution, None, job, None, {}, _START)
        for seq, (execution, job) in enumerate(names, 1)
    ]
    wanted = [True] * len(events)
    monkeypatch.setattr(attempts, "_MOST", 0)
    assert plain(fold(table_of(events, wanted, "plain"))) == looped(events, wanted)


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
