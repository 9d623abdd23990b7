"""Questions to frames: each agrees with a plain loop over the same events, and with what a recording answers."""

from __future__ import annotations

import statistics
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import playhead as ph
from playhead import frames
from playhead.events import Event
from playhead.recording import Recording
from playhead.state import Execution, Executions

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
TYPES = ["job_queued", "job_started", "job_progress", "job_log", "job_completed", "job_failed", "job_cancelled", "other"]
EVENT = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES), "timestamp": st.integers(0, 400).map(lambda s: EPOCH + timedelta(seconds=s / 4))},
    optional={
        "jobId": st.sampled_from(["j1", "j2", "jö"]), "executionId": st.sampled_from(["e1", "e2"]),
        "batchId": st.sampled_from(["b1", "b2"]),
        "data": st.fixed_dictionaries(
            {},
            optional={
                "currentStep": st.sampled_from(["load", "parse", "ü"]), "siteName": st.sampled_from(["s1", "s2"]),
                "error": st.sampled_from(["timeout after 3 s", "timeout after 40 s", "no 'x'"]),
            },
        ),
    },
)  # fmt: skip
LIFE = st.lists(EVENT, max_size=40)


def held(tmp_path_factory: pytest.TempPathFactory, given_events: list[dict[str, Any]]) -> tuple[ph.Client, list[Event]]:
    """A recording of the events."""
    path = tmp_path_factory.mktemp("frames") / "a.playhead"
    with Recording.open(path) as recording:
        recording.append(given_events)
        events = recording.read(limit=None)
    return ph.connect(path), events


def ns(length: timedelta) -> pd.Timedelta:
    return pd.Timedelta(length)


@settings(max_examples=40, deadline=None)
@given(life=LIFE)
def test_questions_agree_with_plain_loops(tmp_path_factory: pytest.TempPathFactory, life: list[dict[str, Any]]) -> None:
    """executions, state_at, batches, concurrency, throughput, durations, retries, steps, errors, stalled: random lives."""
    client, events = held(tmp_path_factory, life)
    with client:
        frame = client.events().to_pandas()
        rows = Executions(events).rows()
        pd.testing.assert_frame_equal(frames.executions(frame), client.executions())
        pd.testing.assert_frame_equal(frames.batches(frame), client.batches())
        for at in (EPOCH + timedelta(seconds=30), EPOCH + timedelta(seconds=71.25)):
            pd.testing.assert_frame_equal(_plain(frames.state_at(frame, at)), _plain(client.executions(at=at)))
        cursor = frame.attrs["playhead"]["cursor"].partition(":")[0] + f":{len(events) // 2}"
        pd.testing.assert_frame_equal(_plain(frames.state_at(frame, cursor)), _plain(client.executions(at=cursor)))
    _check_load(frame, rows)
    _check_durations(frame, rows)
    _check_steps(frame, events)
    _check_stalled(frame, events)


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    found = frame.astype({"state": "str"})
    found.attrs = {}
    return found


def _check_load(frame: pd.DataFrame, rows: list[Execution]) -> None:
    running = frames.concurrency(frame)["running"]
    moments = sorted({moment for row in rows if row.started for moment in (row.started, row.ended) if moment})
    assert running.index.tolist() == [pd.Timestamp(one) for one in moments]
    for moment in moments:
        begun = sum(row.started is not None and row.started <= moment for row in rows)
        ended = sum(row.started is not None and row.ended is not None and row.ended <= moment for row in rows)
        assert running[moment] == begun - ended
    counts = frames.throughput(frame, "10s")
    assert counts.columns.tolist() == ["started", "completed", "failed", "cancelled"]
    for at, row in counts.iterrows():
        span = (at.to_pydatetime(), at.to_pydatetime() + timedelta(seconds=10))
        assert row["started"] == sum(one.started is not None and span[0] <= one.started < span[1] for one in rows)
        for state in ("completed", "failed", "cancelled"):
            assert row[state] == sum(one.state == state and span[0] <= (one.ended or span[1]) < span[1] for one in rows)
    assert counts["started"].sum() == sum(row.started is not None for row in rows)


def _check_durations(frame: pd.DataFrame, rows: list[Execution]) -> None:
    found = frames.durations(frame, by="site_name")
    assert found["count"].sum() == sum(row.duration_ms is not None for row in rows)
    assert found["failures"].sum() == sum(row.state == "failed" for row in rows)
    for name, one in found.iterrows():
        mine = [row for row in rows if row.site_name == (None if pd.isna(name) else name)]
        lengths = [row.ended - row.started for row in mine if row.duration_ms is not None]  # type: ignore[operator]
        assert one["count"] == len(lengths)
        if lengths:
            assert one["median"] == ns(statistics.median(lengths)) and one["max"] == ns(max(lengths))
            assert one["p95"].total_seconds() == pytest.approx(np.percentile([x.total_seconds() for x in lengths], 95))
    pairs: dict[Any, list[Execution]] = defaultdict(list)
    for row in rows:
        pairs[row.execution_id, row.job_id].append(row)
    several = [one for one in pairs.values() if len(one) > 1]
    again = frames.retries(frame)
    assert again["attempts"].tolist() == [len(one) for one in several]
    assert again["state"].tolist() == [one[-1].state for one in several]
    wasted = [sum(row.duration_ms or 0 for row in one[:-1]) for one in several]
    assert again["wasted"].tolist() == [pd.Timedelta(ms, "ms") for ms in wasted]
    failures = [row for row in rows if row.state in ("failed", "cancelled")]
    assert frames.errors(frame)["count"].sum() == len(failures)
    by_message = frames.errors(frame).set_index("error")
    if "timeout after <n> s" in by_message.index:
        mine = [row for row in failures if row.error and row.error.startswith("timeout")]
        assert by_message.loc["timeout after <n> s", "count"] == len(mine)
        assert by_message.loc["timeout after <n> s", "messages"] == len({row.error for row in mine})


def _check_steps(frame: pd.DataFrame, events: list[Event]) -> None:
    """Event by event: which step each attempt is in, and since when."""
    lengths: dict[str, list[timedelta]] = defaultdict(list)
    state, since = Executions(), {}
    last = max((event.timestamp for event in events), default=EPOCH)
    for event in events:
        before = None if event.job_id is None else state.newest_of(event.execution_id, event.job_id)
        known = (before.attempt, before.ended) if before is not None else (0, None)
        row = state.apply(event)
        if row is None:
            continue
        key = (row.execution_id, row.job_id, row.attempt)
        if row.attempt == known[0] and known[1] is not None:
            continue
        step = event.data.get("currentStep")
        if event.type in ("job_completed", "job_failed", "job_cancelled"):
            if key in since:
                name, begun = since.pop(key)
                lengths[name].append(event.timestamp - begun)
        elif step is not None and since.get(key, ("", None))[0] != step:
            if key in since:
                name, begun = since[key]
                lengths[name].append(event.timestamp - begun)
            since[key] = (step, event.timestamp)
    for name, begun in since.values():
        lengths[name].append(last - begun)
    found = frames.steps(frame)
    assert found["visits"].to_dict() == {name: len(one) for name, one in lengths.items()}
    assert found["total"].to_dict() == {name: ns(sum(one, timedelta())) for name, one in lengths.items()}
    assert found["median"].to_dict() == {name: ns(statistics.median(one)) for name, one in lengths.items()}


def _check_stalled(frame: pd.DataFrame, events: list[Event]) -> None:
    found = frames.stalled(frame, "20s")
    last = max((event.timestamp for event in events), default=EPOCH)
    said: dict[Any, datetime] = {}
    for event in events:
        if event.job_id is not None and event.type != "other":
            key = (event.execution_id, event.job_id)
            said[key] = max(said.get(key, event.timestamp), event.timestamp)
    silent = {
        (row.execution_id, row.job_id): last - said[row.execution_id, row.job_id]
        for row in Executions(events).newest() if row.state == "running"
    }  # fmt: skip
    wanted = sorted((one for one in silent.values() if one >= timedelta(seconds=20)), reverse=True)
    assert found["silent"].tolist() == [ns(one) for one in wanted]


def lives(*parts: tuple[str, str, float, str, dict[str, Any]]) -> pd.DataFrame:
    """A frame of (type, job, second, execution, data)."""
    events = [
        Event(
            seq, f"00000000-0000-4000-8000-{seq:012}", f"job_{kind}", EPOCH + timedelta(seconds=at), execution, "b", job,
            None, data, EPOCH,
        )
        for seq, (kind, job, at, execution, data) in enumerate(parts, 1)
    ]  # fmt: skip
    from playhead.columns import to_arrow
    from playhead.frames import events_frame
    from playhead.recording.sql import zoned

    table = zoned(to_arrow(events)).drop_columns("expires_at")
    ids = pd.Series([event.id for event in events], dtype="str")
    frame = events_frame(table.drop_columns("id"), cursor="", filters={})
    frame.insert(1, "id", ids)
    return frame


def test_two_nights_beside_each_other() -> None:
    """By site: what fails now, what is mended, faster and slower with an interval, what came and went."""

    def night(factor: dict[str, float], failing: set[str], sites: set[str]) -> pd.DataFrame:
        parts: list[Any] = []
        for site in sorted(sites):
            for n in range(8):
                data = {"siteUrl": site}
                parts.append(("started", site, 100 * n, f"{site}{n}", data))
                kind = "failed" if site in failing else "completed"
                parts.append((kind, site, 100 * n + (10 + n) * factor.get(site, 1), f"{site}{n}", {}))
        return lives(*parts)

    a = night({}, {"broken", "mended"}, {"broken", "mended", "same", "slow", "fast", "worse", "old"})
    b = night({"slow": 2, "fast": 0.25}, {"broken", "worse"}, {"broken", "mended", "same", "slow", "fast", "worse", "young"})
    found = frames.compare(a, b)
    assert found.index.name == "site_url"
    assert found["change"].astype(str).to_dict() == {
        "worse": "newly failing", "broken": "still failing", "fast": "faster", "slow": "slower", "mended": "fixed",
        "same": "same", "old": "gone", "young": "new",
    }  # fmt: skip
    assert found["change"].tolist()[:2] == ["newly failing", "still failing"]
    assert found.loc["slow", "ratio"] == 2 and found.loc["slow", "low"] > 1 and found.loc["slow", "effect"] == 1
    assert found.loc["fast", "high"] < 1 and found.loc["fast", "median_b"] == pd.Timedelta(seconds=13.5 / 4)
    assert found.loc["worse", "failed_b"] == 8 and pd.isna(found.loc["worse", "ratio"])
    assert found.attrs["comparison"]["matched"] == 3 and found.attrs["comparison"]["median_ratio"] == 1
    with pytest.raises(ValueError, match="by='site' is no column"):
        frames.compare(a, b, by="site")


def test_the_path_that_a_batch_waited_for() -> None:
    """Back from the last end: each began when the one before had ended; gaps and shares add up."""
    frame = lives(
        ("started", "a", 0, "a", {}), ("started", "x", 1, "x", {}), ("completed", "x", 3, "x", {}),
        ("completed", "a", 10, "a", {}), ("started", "b", 12, "b", {}), ("started", "y", 12, "y", {}),
        ("completed", "y", 13, "y", {}), ("completed", "b", 30, "b", {}), ("started", "c", 30, "c", {}),
        ("failed", "c", 40, "c", {}), ("started", "z", 39, "z", {}),
    )  # fmt: skip
    found = frames.critical_path(frame, "b")
    assert found["job_id"].tolist() == ["a", "b", "c"]
    assert found["gap"].dt.total_seconds().tolist() == [0, 2, 0]
    assert found["share"].tolist() == [10 / 40, 18 / 40, 10 / 40]
    assert frames.critical_path(frame, "none").empty


def test_messages_are_folded_where_they_vary() -> None:
    """Urls, ids, times, paths, quoted text, hex and numbers; words stay."""
    import pyarrow as pa

    from playhead.frames.errors import folded_messages

    told = [
        "GET https://example.com/a?b=1 answered 503", "GET http://x.org answered 500",
        "no user 01932f6e-1111-7222-8333-944444444444", "KeyError: 'name'", "/var/tmp/a.txt is gone", "at 0x7f3a failed",
        "2026-01-01T00:00:00Z is over", "plain words", "",
    ]  # fmt: skip
    assert folded_messages(pa.array(told)).to_pylist() == [
        "GET <url> answered <n>", "GET <url> answered <n>", "no user <uuid>", "KeyError: <text>", "<path> is gone",
        "at <hex> failed", "<time> is over", "plain words", "",
    ]  # fmt: skip


def test_no_events_give_the_same_columns() -> None:
    """Of an empty frame: the columns and dtypes that events would have given."""
    some = lives(
        ("started", "a", 0, "a", {"currentStep": "s"}), ("failed", "a", 1, "a", {"error": "no"}), ("started", "a", 2, "a", {}),
    )  # fmt: skip
    none = some.iloc[:0]
    for ask in (
        frames.executions, frames.batches, frames.concurrency, frames.throughput, frames.durations, frames.steps,
        frames.retries, frames.errors, lambda frame: frames.stalled(frame, "0s"), frames.critical_path, frames.event_log,
        lambda frame: frames.compare(frame, frame),
    ):  # fmt: skip
        full, empty = ask(some), ask(none)  # type: ignore[operator]
        assert len(empty) == 0
        assert empty.columns.tolist() == full.columns.tolist()
        kinds = [one.dtypes.drop("state", errors="ignore") for one in (empty, full)]  # whose categories are those there are
        assert kinds[0].equals(kinds[1]), kinds


def test_what_cannot_be_asked_says_what_to_write() -> None:
    """No events frame, no column, no length, no zone."""
    frame = lives(("started", "a", 0, "a", {}))
    with pytest.raises(ValueError, match=r"this is no events frame, .* use client\.events"):
        frames.executions(pd.DataFrame({"a": [1]}))
    with pytest.raises(ValueError, match="by='nope' is no column of an executions frame; it has execution_id"):
        frames.durations(frame, by="nope")
    for every in ("soon", "0s", "-1min"):
        with pytest.raises(ValueError, match="write '30s'"):
            frames.throughput(frame, every)
    with pytest.raises(ValueError, match="write '5min'"):
        frames.stalled(frame, "a while")
    with pytest.raises(ValueError, match="zone"):
        frames.state_at(frame, datetime(2026, 1, 1))


def test_the_columns_that_process_mining_reads() -> None:
    """A case an execution's job, an activity a step or a type, transitions by XES."""
    frame = lives(
        ("queued", "a", 0, "e", {}), ("started", "a", 1, "e", {"siteName": "s"}),
        ("progress", "a", 2, "e", {"currentStep": "load"}), ("failed", "a", 3, "e", {}),
    )  # fmt: skip
    log = frames.event_log(frame)
    assert log["case:concept:name"].unique().tolist() == ["e/a"]
    assert log["concept:name"].tolist() == ["job_queued", "job_started", "load", "job_failed"]
    assert log["lifecycle:transition"].tolist() == ["schedule", "start", "unknown", "ate_abort"]


def test_a_moment_is_the_same_in_every_zone() -> None:
    """At the end of summer time one clock time is two moments, told apart by the offset; what has no zone is refused."""
    berlin = ZoneInfo("Europe/Berlin")
    first, again = (datetime(2026, 10, 25, 2, 30, fold=fold, tzinfo=berlin) for fold in (0, 1))
    assert again.astimezone(UTC) - first.astimezone(UTC) == timedelta(hours=1)
    since = (first.astimezone(UTC) - EPOCH).total_seconds()
    frame = lives(
        ("started", "a", since - 60, "e", {}), ("completed", "a", since + 600, "e", {}),
        ("started", "b", since + 1200, "e", {}),
    )  # fmt: skip
    assert frames.state_at(frame, first)["state"].tolist() == ["running"]
    assert frames.state_at(frame, again)["state"].tolist() == ["completed", "running"]
    assert frames.state_at(frame, "2026-10-25T02:30+02:00")["state"].tolist() == ["running"]
    assert frames.state_at(frame, pd.Timestamp(again))["state"].tolist() == ["completed", "running"]
    elsewhere = frame.assign(timestamp=frame["timestamp"].dt.tz_convert("Asia/Kathmandu"))
    pd.testing.assert_frame_equal(_plain(frames.executions(elsewhere)), _plain(frames.executions(frame)))
    assert frames.throughput(elsewhere, "1h").index.equals(frames.throughput(frame, "1h").index)
    for naive in (datetime(2026, 10, 25, 2, 30), "2026-10-25T02:30", pd.Timestamp("2026-10-25 02:30")):
        with pytest.raises(ValueError, match="zone"):
            frames.state_at(frame, naive)


def test_what_should_not_happen_has_one_answer() -> None:
    """A second end changes nothing, an end without a start has no duration, no value is one more group, names are any text."""
    odd = "Ω\u2028\U0001f600 'x'"
    frame = lives(
        ("started", "twice", 0, "e", {"siteName": odd}), ("failed", "twice", 5, "e", {"error": "first"}),
        ("completed", "twice", 9, "e", {}), ("completed", "never began", 7, "e", {"siteName": odd}),
        ("started", odd, 8, "e", {}), ("completed", odd, 10, "e", {}), ("progress", "only", 11, "e", {"currentStep": odd}),
    )  # fmt: skip
    rows = frames.executions(frame).set_index("job_id")
    assert rows["state"].astype("str").to_dict() == {
        "twice": "failed", "never began": "completed", odd: "completed", "only": "running"
    }
    assert rows["duration"].dropna().to_dict() == {"twice": timedelta(seconds=5), odd: timedelta(seconds=2)}
    found = frames.durations(frame, by="site_name")
    assert found.index[0] == odd and pd.isna(found.index[1]) and found["count"].tolist() == [1, 1]
    assert frames.steps(frame).index.tolist() == [odd]
    assert frames.errors(frame)["error"].tolist() == ["first"]
    assert frames.concurrency(frame)["running"].tolist() == [1, 0, 1, 0]


def test_a_million_different_errors() -> None:
    """Folded where only what varies differs; each a row of its own where its words do."""
    count = 1_000_000
    rows = frames.executions(lives(("started", "a", 0, "e", {}), ("failed", "a", 1, "e", {"error": "x"})))
    many = rows.loc[rows.index.repeat(count)].reset_index(drop=True)
    numbers = pd.Series(range(count)).astype("str")
    folded = frames.errors(many.assign(error="row " + numbers + " is missing"))
    assert folded[["error", "count", "messages"]].values.tolist() == [["row <n> is missing", count, count]]
    words = numbers.str.translate(str.maketrans("0123456789", "ghijklmnop"))
    found = frames.errors(many.assign(error="no " + words))
    assert len(found) == count and (found["count"] == 1).all() and found["error"].iloc[7] == "no n"
