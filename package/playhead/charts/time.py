"""Charts along time: who ran when, how much came and went, and in which states everything was."""

from __future__ import annotations

import heapq
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from playhead import frames
from playhead.charts.chart import (
    BLUE,
    GREY,
    WIDTH,
    Chart,
    by_state,
    chart,
    edge_by_state,
    level,
    mean_level,
    micros,
    number,
    rows_of,
    said_length,
    stretch,
    time_axis,
)  # fmt: skip
from playhead.client.query import EventQuery
from playhead.state import STATES

_NAMED, _DRAWN, _ROWS, _CELLS = 40, 2_000, 40, 100
_POINTS, _BARS = 240, 60
_ENDED = ("completed", "failed", "cancelled")


def timeline(data: pd.DataFrame | EventQuery, by: str = "site_name") -> Chart:
    """
    Who ran when.

    Up to 40 jobs have a row each, and all their attempts in it; up to 2,000 executions are packed into as few rows as do not
    overlap; of more, the average number that ran is told for each value of ``by`` (those with most time of their own, all
    others together) and each stretch of time.

    Args:
        data: Events in log order, an executions frame, or a query.
        by: The column that rows of a large history are of.

    Raises:
        ValueError: there is no such column.
    """
    rows = rows_of(data)
    if by not in rows.columns:
        raise ValueError(f"by={by!r} is no column of an executions frame; it has {', '.join(rows.columns)}")
    ran = rows[rows["started"].notna()].copy()
    last = rows[["queued", "started", "ended"]].max().max()
    ran["until"] = ran["ended"].fillna(last)
    if len(ran) > _DRAWN:
        return _heat(ran, by)
    shown = pd.DataFrame({
        "job": ran["job_id"].astype("str"), "state": ran["state"].astype("str"), "from": ran["started"], "until": ran["until"],
        "attempt": ran["attempt"], "took": [said_length(one) for one in ran["until"] - ran["started"]],
        "error": ran["error"].fillna("").astype("str"),
    })  # fmt: skip
    jobs = shown["job"].nunique()
    if jobs <= _NAMED:
        y = alt.Y("job:N", sort=shown["job"].drop_duplicates().tolist(), title=None)
        said = f"a row for each of {number(jobs, 'job')}"
        height: Any = alt.Step(16)
    else:
        shown["lane"] = _lanes(micros(ran["started"]), micros(ran["until"]))
        lanes = int(shown["lane"].max()) + 1
        y = alt.Y("lane:O", axis=None)
        said, height = f"packed into {number(lanes, 'row')}, the most that ran at once", min(600, max(120, 12 * lanes))
    tips = [alt.Tooltip(f"{name}:N") for name in ("job", "state", "attempt", "took", "error")]
    bars = alt.Chart(shown).mark_bar(strokeWidth=1).encode(
        time_axis("from"), alt.X2("until:T"), y, by_state(), edge_by_state(), tooltip=tips
    )  # fmt: skip
    return chart([bars], title="Who ran when", said=f"{number(len(ran), 'execution')}, {said}", width=WIDTH, height=height)


def _lanes(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """For each the lowest row that is free when it starts."""
    lanes, count = np.zeros(len(starts), np.int64), 0
    busy: list[tuple[int, int]] = []
    free: list[int] = []
    for place in np.argsort(starts, kind="stable"):
        while busy and busy[0][0] <= starts[place]:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if not free:
            heapq.heappush(free, count)
            count += 1
        lanes[place] = heapq.heappop(free)
        heapq.heappush(busy, (ends[place], lanes[place]))
    return lanes


def _heat(ran: pd.DataFrame, by: str) -> Chart:
    first, last = ran["started"].min(), ran["until"].max()
    length = stretch(first, last, _CELLS)
    edges = _edges(first, last, length)
    of = ran[by].astype("str").fillna("(none)")
    spent = (ran["until"] - ran["started"]).groupby(of).sum().sort_values(ascending=False)
    names = spent.index[: _ROWS - 1 if len(spent) > _ROWS else _ROWS].tolist()
    rest = len(spent) - len(names)
    others = f"({rest:,} others)"
    label = of.where(of.isin(names), others)
    starts, ends = micros(ran["started"]), micros(ran["until"])
    cells = []
    for name in names + ([others] if rest else []):
        of_it = (label == name).to_numpy()
        mean = mean_level(starts[of_it], ends[of_it], edges)
        cells.append(pd.DataFrame({by: name, "from": edges[:-1], "until": edges[1:], "running": mean}))
    shown = pd.concat(cells)
    shown = shown[shown["running"] > 0]
    for name in ("from", "until"):
        shown[name] = pd.to_datetime(shown[name], unit="us", utc=True)
    layers = []
    for is_rest, colour in ((False, BLUE), (True, GREY)):
        part = shown[(shown[by] == others) == is_rest]
        shades = alt.Scale(domain=[0, part["running"].max() if len(part) else 1], range=[0.1, 1])
        layers.append(alt.Chart(part).mark_rect(color=colour).encode(
            time_axis("from"), alt.X2("until:T"), alt.Y(f"{by}:N", sort=[*names, others], title=None),
            alt.Opacity("running:Q", scale=shades, title="running", legend=None if is_rest else alt.Legend()),
            tooltip=[alt.Tooltip(f"{by}:N"), alt.Tooltip("running:Q", format=".3~f")],
        ))  # fmt: skip
    said = f"{number(len(ran), 'execution')} added up: how many ran on average in each {said_length(length)}, by {by}"
    independent = alt.Resolve(scale=alt.ScaleResolveMap(opacity="independent"))
    return chart(layers, title="Who ran when", said=said, width=WIDTH, height=alt.Step(14), resolve=independent)


def throughput(data: pd.DataFrame | EventQuery, every: str | None = None) -> Chart:
    """
    What ended, by how, and what began, in each stretch of time.

    Args:
        data: Events in log order, an executions frame, or a query.
        every: The length of a stretch, as pandas writes it; when not given, one that makes at most 60 of them.

    Raises:
        ValueError: ``every`` is no length above 0, or makes more than 2,000 stretches.
    """
    rows = rows_of(data)
    moments = pd.concat([rows["started"], rows["ended"]]).dropna()
    length = pd.Timedelta("1min")
    if every is not None:
        counts = frames.throughput(rows, every)
        length = pd.Timedelta(every)
        if len(counts) > _DRAWN:
            raise ValueError(f"every={every!r} makes {len(counts):,} bars, which nobody can tell apart; write a longer one")
    else:
        if len(moments):
            length = stretch(moments.min(), moments.max(), _BARS)
        counts = frames.throughput(rows, f"{length // pd.Timedelta('1us')}us")
    ended = counts[list(_ENDED)].reset_index().melt("at", var_name="state", value_name="executions")
    ended["top"] = ended.groupby("at")["executions"].cumsum()  # bars that a time begins and ends are not stacked by themselves
    ended["foot"], ended["until"] = ended["top"] - ended["executions"], ended["at"] + length
    ended = ended[ended["executions"] > 0]
    tips = [alt.Tooltip("state:N"), alt.Tooltip("executions:Q", format=",")]
    bars = alt.Chart(ended).mark_bar().encode(
        time_axis("at"), alt.X2("until:T"), alt.Y("foot:Q", title=f"in {said_length(length)}"), alt.Y2("top:Q"), by_state(),
        tooltip=tips,
    )  # fmt: skip
    begun = counts[["started"]].reset_index().assign(middle=lambda frame: frame["at"] + length / 2)
    line = alt.Chart(begun).mark_line(color=BLUE, interpolate="monotone", strokeWidth=1.5).encode(
        time_axis("middle"), alt.Y("started:Q"), tooltip=[alt.Tooltip("started:Q", format=",")]
    )  # fmt: skip
    said = f"{number(len(rows), 'execution')}: bars are what ended in each {said_length(length)}, the line is what began"
    return chart([bars, line], title="Throughput", said=said, width=WIDTH, height=220)


def states(data: pd.DataFrame | EventQuery) -> Chart:
    """
    How many executions were in each state, over time.

    Each change is drawn where there are at most 240; of more, the average over each stretch of time.

    Args:
        data: Events in log order, an executions frame, or a query.
    """
    rows = rows_of(data)
    last = rows[["queued", "started", "ended"]].max().max()
    never = pd.Series(pd.NaT, index=rows.index, dtype="datetime64[us, UTC]")
    end = never.fillna(last + pd.Timedelta(3650, "D")) if len(rows) else never  # what has not ended goes on past all edges
    spans = {"queued": (rows["queued"], rows["started"].fillna(rows["ended"]).fillna(end))}
    spans["running"] = (rows["started"], rows["ended"].fillna(end))
    for state in _ENDED:
        spans[state] = (rows["ended"].where(rows["state"] == state), end)
    known = {state: (micros(begin.dropna()), micros(until[begin.notna()])) for state, (begin, until) in spans.items()}
    changes = np.unique(np.concatenate([side for pair in known.values() for side in pair]))
    if len(changes):
        shown_to = last.value // 1000
        changes = changes[changes <= shown_to]
        changes = np.append(changes, shown_to + max(1, (shown_to - changes[0]) // 50))  # the last level is to be seen, too
    if len(changes) <= _POINTS:
        values = {state: level(*pair, changes) for state, pair in known.items()}
        how = "each change"
    else:
        first, latest = (pd.Timestamp(int(one), unit="us", tz="UTC") for one in changes[[0, -1]])
        length = stretch(first, latest, _POINTS)
        edges = _edges(first, latest, length)
        values = {state: mean_level(*pair, edges) for state, pair in known.items()}
        changes, how = edges[:-1], f"the average over each {said_length(length)}"
    shown = pd.concat([
        pd.DataFrame({"at": pd.to_datetime(changes, unit="us", utc=True), "state": state, "executions": counts,
                      "order": STATES.index(state)})
        for state, counts in values.items()
    ])  # fmt: skip
    marks = alt.Chart(shown).mark_area(interpolate="step-after").encode(
        time_axis("at"), alt.Y("executions:Q", title=None, stack=True), by_state(), alt.Order("order:Q"),
        tooltip=[alt.Tooltip("state:N"), alt.Tooltip("executions:Q", format=",.3~f")],
    )  # fmt: skip
    return chart([marks], title="States over time", said=f"{number(len(rows), 'execution')}, {how}", width=WIDTH, height=240)


def _edges(first: pd.Timestamp, last: pd.Timestamp, length: pd.Timedelta) -> np.ndarray:
    """Where stretches begin and end, on whole multiples of their length, in microseconds."""
    us = length // pd.Timedelta(1, "us")
    low, high = (one.value // 1000 for one in (first, last))  # a Timestamp's value is in ns, whatever its unit
    return np.arange(low // us, high // us + 2) * us
