"""Charts: what they draw adds up to what there is, however it is reduced; and they draw with no network, in either theme."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import playhead as ph
from playhead import charts, frames
from playhead.charts.chart import COLOURS, level, mean_level, said_length, stretch
from playhead.recording import Recording

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
EVERY = ("timeline", "throughput", "states", "durations")


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Events of 3,000 jobs of 60 sites, each with steps; one in ten fails, one in a hundred runs still."""
    path = tmp_path_factory.mktemp("charts") / "a.playhead"
    events: list[dict[str, Any]] = []
    for n in range(3_000):
        begun, length = EPOCH + timedelta(seconds=n), timedelta(seconds=20 + n * 7919 % 200, milliseconds=n % 1000)
        about = {"jobId": f"j{n}", "batchId": "b", "data": {"siteName": f"s{n % 60}", "siteUrl": f"https://s{n % 60}.example"}}
        events.append({"type": "job_started", "timestamp": begun} | about)
        for step in range(3):
            told = about["data"] | {"currentStep": f"step {(n + step) % 40}"}  # type: ignore[operator]
            events.append({"type": "job_progress", "timestamp": begun + length * step / 4} | about | {"data": told})
        if n % 100:
            end = {"type": "job_failed" if n % 10 == 1 else "job_completed", "timestamp": begun + length}
            events.append(end | about | {"data": {"error": f"no row {n}"}})
    with Recording.open(path) as recording:
        recording.append(sorted(events, key=lambda one: one["timestamp"]))
    with ph.connect(path) as client:
        return client.events().to_pandas()


def drawn(chart: charts.Chart, layer: int = 0) -> pd.DataFrame:
    """The rows that a layer draws."""
    spec = chart.to_dict()
    data = spec["layer"][layer].get("data") or spec["data"]  # the whole chart's, where all layers draw the same
    return pd.DataFrame(spec["datasets"][data["name"]])


def seconds(moments: pd.Series) -> pd.Series:
    """Since 1970."""
    return pd.to_datetime(moments, utc=True, format="ISO8601").astype("datetime64[us, UTC]").astype("int64") / 1e6


def said(chart: charts.Chart) -> str:
    """Its subtitle."""
    found = chart.to_dict()["title"]["subtitle"]
    return found if isinstance(found, str) else "; ".join(found)


def test_a_large_timeline_is_added_up(busy: pd.DataFrame) -> None:
    """The areas of all cells are the time that all executions ran, to the microsecond; it says how it was reduced."""
    chart = charts.timeline(busy)
    cells = pd.concat([drawn(chart, 0), drawn(chart, 1)])
    area = (cells["running"] * (seconds(cells["until"]) - seconds(cells["from"]))).sum()
    rows = frames.executions(busy)
    until = rows["ended"].fillna(rows[["started", "ended"]].max().max())
    assert area == pytest.approx((until - rows["started"]).dt.total_seconds().sum(), abs=1e-3)
    assert said(chart).startswith("3,000 executions added up") and cells["site_name"].nunique() == 40
    assert (cells["site_name"] == "(21 others)").any()


def test_a_small_timeline_draws_each(busy: pd.DataFrame) -> None:
    """A row for each of a few jobs; more are packed into as few rows as ran at once."""
    few, some = (busy[busy["job_id"].isin([f"j{n}" for n in range(count)])] for count in (30, 500))
    chart = charts.timeline(few)
    assert len(drawn(chart)) == 30 and "a row for each of 30 jobs" in said(chart)
    chart = charts.timeline(some)
    rows, most = drawn(chart), frames.concurrency(some)["running"].max()
    assert len(rows) == 500 and rows["lane"].nunique() == most and f"packed into {most} rows" in said(chart)
    for _, lane in rows.groupby("lane"):
        times = lane.sort_values("from")
        assert (times["until"].to_numpy()[:-1] <= times["from"].to_numpy()[1:]).all()


def test_the_bars_of_throughput_add_up(busy: pd.DataFrame) -> None:
    """Bars are what ended, stacked without a hole, at most 60 stretches; the line is what began."""
    chart, rows = charts.throughput(busy), frames.executions(busy)
    bars = drawn(chart)
    for state in ("completed", "failed"):
        assert bars.loc[bars["state"] == state, "executions"].sum() == (rows["state"] == state).sum()
    tops = bars.groupby("at").agg(top=("top", "max"), executions=("executions", "sum"))
    assert (tops["top"] == tops["executions"]).all() and len(tops) <= 60
    assert drawn(chart, 1)["started"].sum() == 3_000
    with pytest.raises(ValueError, match="write a longer one"):
        charts.throughput(busy, "1s")


def test_the_states_of_every_moment(busy: pd.DataFrame) -> None:
    """A few executions change where they change; of many the last stretch says what they came to."""
    few = busy[busy["job_id"].isin([f"j{n}" for n in range(1, 30)])]
    chart, rows = charts.states(few), frames.executions(few)
    shown = drawn(chart).pivot(index="at", columns="state", values="executions")
    assert "each change" in said(chart) and len(shown) <= 2 * len(rows) + 1
    moment = rows["started"].iloc[17]
    assert shown.loc[shown.index[seconds(shown.index.to_series()) <= moment.timestamp()][-1], "running"] == (
        frames.concurrency(few).loc[moment, "running"]
    )
    shown = drawn(charts.states(busy)).pivot(index="at", columns="state", values="executions")
    assert len(shown) <= 240 and shown.iloc[-1].sum() == pytest.approx(3_000)


def test_the_others_are_one_row(busy: pd.DataFrame) -> None:
    """Durations and steps draw those that take most, and all others together: counts and sums are whole."""
    chart = charts.durations(busy, most=10)
    rows = drawn(chart)
    assert len(rows) == 10 and rows["of"].iloc[-1] == "(51 others)" and rows["count"].sum() == 2_970
    assert rows["failures"].sum() == 300
    chart, steps = charts.steps(busy, most=10), frames.steps(busy)
    assert drawn(chart)["seconds"].sum() == pytest.approx(steps["total"].dt.total_seconds().sum())
    assert drawn(chart)["step"].iloc[-1] == "(31 others)" and "to 40 steps" in said(chart)


def test_two_nights_are_compared(busy: pd.DataFrame) -> None:
    """The rows are those of `frames.compare`, as many as asked for, and how many more there are is said."""
    rows = frames.executions(busy)
    a, b = rows[rows["first_seq"] < 7_000], rows[rows["first_seq"] >= 7_000]
    compared = frames.compare(a, b, "site_name")
    chart = charts.comparison(a, b, "site_name", most=12)
    assert chart.to_dict() == charts.comparison(compared, most=12).to_dict()
    assert drawn(chart, 1)["of"].tolist() == compared.index[:12].tolist()
    assert "drawn are the 12 of 60" in said(chart)
    with pytest.raises(ValueError, match=r"comparison\(a, b\)"):
        charts.comparison(a)


@pytest.mark.parametrize("name", EVERY)
def test_a_query_and_nothing_can_be_drawn(tmp_path: Path, busy: pd.DataFrame, name: str) -> None:
    """A query gives the chart that its frame gives; no events give an empty one."""
    draw = getattr(charts, name)
    with ph.connect(tmp_path / "a.playhead") as client:
        client.publish([{"type": "job_started", "jobId": "j"}, {"type": "job_completed", "jobId": "j"}])
        client.flush()
        query = client.events()
        assert draw(query).to_dict() == draw(query.to_pandas()).to_dict()
    empty = draw(busy.iloc[:0])
    assert "0 executions" in said(empty) and "<svg" in empty._repr_mimebundle_()["image/svg+xml"]
    assert "<svg" in charts.steps(busy.iloc[:0])._repr_mimebundle_()["image/svg+xml"]


def test_a_chart_needs_no_network(busy: pd.DataFrame) -> None:
    """JupyterLab gets the chart, anything else a drawing on white, and nothing comes from elsewhere."""
    bundle = charts.throughput(busy)._repr_mimebundle_()
    page, spec = bundle["image/svg+xml"], bundle["application/vnd.vegalite.v5+json"]
    assert "<script" not in page and "src=" not in page and 'fill="white"' in page and "Throughput" in page
    assert spec["usermeta"]["embedOptions"] == {"renderer": "svg"} and len(json.dumps(spec)) < 100_000


def test_state_colours_are_seen_in_both_themes() -> None:
    """At least 3:1 against white and against JupyterLab's dark background (WCAG 2.2, 1.4.11)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    for colour in COLOURS.values():
        for ground in ("#ffffff", "#111111"):
            low, high = sorted((luminance(colour), luminance(ground)))
            assert (high + 0.05) / (low + 0.05) >= 3, (colour, ground)


@settings(max_examples=200, deadline=None)
@given(spans=st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 300)), max_size=30), cut=st.integers(1, 400))
def test_levels_are_areas(spans: list[tuple[int, int]], cut: int) -> None:
    """The average of each stretch is the sum of what each span covers of it; a level is how many hold a moment."""
    starts = np.array([start for start, _ in spans], np.int64) + 10**15
    ends = starts + np.array([length for _, length in spans], np.int64)
    edges = np.arange(10**15 - 5, 10**15 + 1400, cut)
    if len(edges) > 1:
        low, high = edges[:-1, None], edges[1:, None]
        covered = np.clip(np.minimum(ends, high) - np.maximum(starts, low), 0, None).sum(axis=1)
        assert mean_level(starts, ends, edges) == pytest.approx(covered / cut, abs=1e-6)
    assert level(starts, ends, edges).tolist() == [int(((starts <= at) & (at < ends)).sum()) for at in edges]


def test_lengths_are_told_as_people_read_them() -> None:
    """One unit, three digits; and the stretches that time is cut into are usual ones."""
    for text, told in (("1490ms", "1.49 s"), ("90s", "1.5 min"), ("1D", "1 day"), ("50h", "2.08 days"), ("20us", "0.02 ms")):
        assert said_length(pd.Timedelta(text)) == told
    first = pd.Timestamp("2026-01-01T00:00:01Z")
    for length, most, found in (("1h", 120, "1min"), ("30D", 100, "12h"), ("10s", 100, "1s"), ("5000D", 100, "91D")):
        assert stretch(first, first + pd.Timedelta(length), most) == pd.Timedelta(found)
