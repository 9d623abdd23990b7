"""Whatever is done to a log, every way to ask it agrees with a plain list."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import playhead as ph
from playhead.client.local import LocalClient
from playhead.events import JOB_TYPES, Cursor, Event, Filter
from playhead.recording import Recording, executions, keyframes, together
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
    st.tuples(st.just("append"), st.lists(_NEW, min_size=1, max_size=30)),
    st.tuples(st.just("append for o"), st.lists(_NEW, min_size=1, max_size=9)),
    st.tuples(st.just("delete"), st.integers(0, 70)),
    st.tuples(st.just("reopen"), st.none()),
    st.tuples(st.just("again"), st.integers(0, 30)),
    st.tuples(st.just("archive"), st.none()),
    st.tuples(st.just("expire"), st.none()),
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
    for position, upto in (
        (cursor, [event for event in log if event.seq <= at]), (moment, [event for event in log if event.timestamp <= moment]),
    ):  # fmt: skip
        for whose in (None, "o"):
            rows = rows_of([event for event in upto if whose is None or event.organization_id == whose])
            filters = {"organization_id": whose}
            active = recording.executions(Filter.make(**filters), states=["running", "queued"], at=position)
            assert active.to_pylist() == [row for row in rows if row["state"] in ("queued", "running")]
            assert recording.executions(Filter.make(**filters), at=position).to_pylist() == rows
            for name in ("p", "q"):
                found = recording.executions(Filter.make(batch_id=name, **filters), at=position).to_pylist()
                assert found == [row for row in rows if row["batch_id"] == name]
            told = recording.executions(Filter.make(type="job_failed", **filters), at=position)["first_seq"].to_pylist()
            assert told == failed(upto if whose is None else [one for one in upto if one.organization_id == whose])
    newest = Executions(log).newest()
    counted = {batch["batchId"]: batch["executions"] for batch in recording.batches()}
    assert counted == {
        name: sum(row.batch_id == name for row in newest) for name in {one.batch_id for one in log if one.batch_id}
    }


def rows_of(events: list[Event]) -> list[dict[str, Any]]:
    """As an executions table has them."""
    rows = []
    for row in Executions(events).rows():
        made = msgspec.structs.asdict(row)
        took = made.pop("duration_ms")
        rows.append(made | {"duration": None if took is None else timedelta(milliseconds=took)})
    return rows


def failed(events: list[Event]) -> list[int]:
    """The first seq of each attempt that was told of a failure."""
    executions, found = Executions(), set()
    for event in events:
        row = executions.apply(event)
        if row is not None and event.type == "job_failed":
            found.add(row.first_seq)
    return sorted(found)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_DO, min_size=1, max_size=12), st.lists(st.tuples(_ASK, _PAGE, st.integers(0, 60)), min_size=1, max_size=4))
def test_every_answer_is_that_of_a_list(
    deeds: list[tuple[str, Any]], questions: list[tuple[dict[str, Any], dict[str, Any], int]]
) -> None:
    """
    Appends over segments, deletions, openings, archives, second publications: pages, streams, counts, states of any
    position, batches, and a frame that `follow` goes on from.
    """
    log: list[Event] = []
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyframes, "_EVERY", 4)
        patch.setattr(keyframes, "_EVENTS_A_ROW", 0)
        patch.setattr(executions, "_AT_ONCE", 16)
        patch.setattr(together, "_ASIDE", 8)
        recording = open_(Path(folder), log)
        try:
            for deed, given_ in deeds:
                if deed == "append":
                    recording.append(given_)
                elif deed == "append for o":
                    recording.append(given_, "o")
                elif deed == "again" and log:
                    recording.append(log[given_ % len(log) :][:3])
                elif deed == "delete":
                    than = _START + timedelta(seconds=given_)
                    gone = [event for event in log if event.timestamp < than]
                    assert recording.delete_older(than) == len(gone)
                    log[:] = [event for event in log if event.timestamp >= than]
                elif deed == "expire" and log:  # the oldest segment
                    segment = recording._segments.all()[0]
                    if segment is not recording._segments.newest:
                        assert recording._upkeep is not None
                        with recording._upkeep._unless_oldest([segment], []):
                            recording._segments.drop([segment])
                        log[:] = [event for event in log if event.seq > segment.last]
                elif deed == "archive":
                    recording._archive_after_s = -60.0
                    assert recording.sweep() == 0
                    assert recording._upkeep is not None
                    recording._upkeep.wait()
                elif deed == "reopen":
                    recording.close()
                    recording = open_(Path(folder), log)
                for asked, page, at in questions:
                    check(recording, log, asked, page, at)
        finally:
            recording.close()


def open_(folder: Path, log: list[Event]) -> Recording:
    recording = Recording.open(folder / "a.playhead", segment_events=11)
    recording.subscribe(log.extend)
    return recording


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(_NEW, min_size=1, max_size=20), min_size=2, max_size=6), st.integers(0, 5), st.integers(1, 3))
def test_a_frame_and_what_follows_are_the_log(appends: list[list[dict[str, Any]]], cut: int, archived: int) -> None:
    """An export at any moment, then follow from its cursor: every event once and in order; so does an exported file."""
    with tempfile.TemporaryDirectory() as folder, ph.connect(Path(folder) / "a.playhead") as client:
        assert isinstance(client, LocalClient)
        for place, events in enumerate(appends):
            if place == min(cut, len(appends) - 1):
                frame = client.events().to_pandas()
                table = client.events(job_id="a").to_arrow()
                client.events().to_parquet(Path(folder) / "b.parquet")
            client.recording.append(events)
            if place % archived == 0:
                client.recording._rotate()
                client.recording._archive_after_s = -60.0
                client.recording.sweep()
        log = client.recording.read(limit=None)
        about = frame.attrs["playhead"]
        assert about["count"] == len(frame) == Cursor.parse(about["cursor"]).seq
        left = len(log) - len(frame)
        more = [event for _, event in zip(range(left), client.follow(after=about["cursor"]), strict=False)]
        assert [*frame["seq"], *(event.seq for event in more)] == [event.seq for event in log]
        cursor = table.schema.metadata[b"playhead.cursor"].decode()
        rest = [event for event in log if event.job_id == "a" and event.seq > Cursor.parse(cursor).seq]
        more = [event for _, event in zip(rest, client.follow(job_id="a", after=cursor), strict=False)]
        assert [*table["seq"].to_pylist(), *(one.seq for one in more)] == [one.seq for one in log if one.job_id == "a"]
        with ph.connect(Path(folder) / "b.parquet") as copy:
            assert [event.seq for event in copy.events()] == list(frame["seq"])
            assert copy.events().to_pandas().attrs["playhead"]["cursor"] == about["cursor"]
