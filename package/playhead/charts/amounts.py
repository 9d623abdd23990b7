"""Charts of amounts: how long things take, where the time goes, and how two runs differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from playhead import frames
from playhead.charts.chart import BLUE, COLOURS, GREY, RED, WIDTH, Chart, chart, number, rows_of, said_length, unit
from playhead.client.query import EventQuery

_ROWS = 30
_CHANGES = {
    "newly failing": RED, "still failing": RED, "fixed": COLOURS["completed"], "slower": COLOURS["queued"], "faster": BLUE,
    "same": GREY, "new": GREY, "gone": GREY,
}  # fmt: skip


def durations(data: pd.DataFrame | EventQuery, by: str = "site_name", *, most: int = 30) -> Chart:
    """
    How long executions took, by a column: median, p95 and longest, and how many failed.

    Args:
        data: Events in log order, an executions frame, or a query.
        by: A column of an executions frame.
        most: How many values have a row: those that took most time in all; the others are one row together.

    Raises:
        ValueError: there is no such column, or ``most`` is below 2.
    """
    if most < 2:
        raise ValueError(f"most={most!r} must be at least 2; write 30")
    rows = rows_of(data)
    found = frames.durations(rows, by).sort_values("total", ascending=False, kind="stable")
    found.index = found.index.astype(object).where(found.index.notna(), "(none)").astype("str")
    if len(found) > most:
        kept = found.index[: most - 1]
        label = rows[by].astype("str").fillna("(none)")
        others = f"({len(found) - len(kept):,} others)"
        found = frames.durations(rows.assign(**{by: label.where(label.isin(kept), others)}), by)
        found = found.loc[[*kept, others]]
    order = found.index.tolist()
    shown = found.drop(columns="total").rename_axis("of").reset_index()
    name_of_unit, size = unit(found["max"].max()) if found["max"].notna().any() else ("s", 1)
    for name in ("median", "p95", "max"):
        shown[f"{name} told"] = [said_length(one) if pd.notna(one) else "" for one in shown[name]]
        shown[name] = shown[name].dt.total_seconds() / size
    tips = [alt.Tooltip("of:N", title=by), alt.Tooltip("count:Q", format=","), alt.Tooltip("failures:Q", format=",")]
    tips += [alt.Tooltip(f"{name} told:N", title=name) for name in ("median", "p95", "max")]
    y = alt.Y("of:N", sort=order, title=None)
    base = alt.Chart(shown).encode(y, tooltip=tips)
    bars = base.mark_bar(color=BLUE, height={"band": 0.7}).encode(alt.X("median:Q", title=name_of_unit))
    rules = base.mark_rule(color=GREY).encode(alt.X("median:Q"), alt.X2("max:Q"))
    ticks = base.mark_tick(color=COLOURS["queued"], thickness=3, size=11).encode(alt.X("p95:Q"))
    points = base.mark_point(color=GREY, filled=True, size=22).encode(alt.X("max:Q"))
    failed = base.transform_filter("datum.failures > 0").transform_calculate(told="'✕ ' + datum.failures")
    words = failed.mark_text(color=RED, align="left", dx=6).encode(alt.X("max:Q"), alt.Text("told:N"))
    said = f"{number(int(found['count'].sum()), 'execution')} by {by}: bar = median, tick = p95, dot = longest, ✕ = failed"
    return chart([bars, rules, ticks, points, words], title="Durations", said=said, width=WIDTH - 80, height=alt.Step(18))


def steps(data: pd.DataFrame | EventQuery, *, most: int = 30) -> Chart:
    """
    Where the time goes: how long executions were in each step, in all.

    Args:
        data: Events in log order, or a query.
        most: How many steps have a row: those that took most; the others are one row together.

    Raises:
        ValueError: it is no events frame, or ``most`` is below 2.
    """
    if most < 2:
        raise ValueError(f"most={most!r} must be at least 2; write 30")
    found = data.steps() if isinstance(data, EventQuery) else frames.steps(data)
    shown = pd.DataFrame({
        "step": found.index.astype("str"), "seconds": found["total"].dt.total_seconds().to_numpy(),
        "visits": found["visits"].to_numpy(), "median": [said_length(one) for one in found["median"]],
        "p95": [said_length(one) for one in found["p95"]],
    })  # fmt: skip
    if len(shown) > most:
        rest = shown.iloc[most - 1 :]
        row = {"step": f"({len(rest):,} others)", "seconds": rest["seconds"].sum(), "visits": rest["visits"].sum()}
        shown = pd.concat([shown.iloc[: most - 1], pd.DataFrame([row | {"median": "", "p95": ""}])])
    whole = shown["seconds"].sum()
    shown["told"] = [
        f"{said_length(pd.Timedelta(one, 's'))}, {one / whole:.0%}" if whole else said_length(pd.Timedelta(one, "s"))
        for one in shown["seconds"]
    ]
    name_of_unit, size = unit(pd.Timedelta(shown["seconds"].max() if len(shown) else 0, "s"))
    shown["length"] = shown["seconds"] / size
    base = alt.Chart(shown).encode(
        alt.Y("step:N", sort=shown["step"].tolist(), title=None),
        tooltip=[alt.Tooltip("step:N"), alt.Tooltip("told:N", title="in all"), alt.Tooltip("visits:Q", format=","),
                 alt.Tooltip("median:N"), alt.Tooltip("p95:N")],
    )  # fmt: skip
    bars = base.mark_bar(color=BLUE, height={"band": 0.7}).encode(alt.X("length:Q", title=f"{name_of_unit} in all"))
    words = base.mark_text(align="left", dx=4, color="currentColor").encode(alt.X("length:Q"), alt.Text("told:N"))
    said = f"{number(int(shown['visits'].sum()), 'visit')} to {number(len(found), 'step')}"
    return chart([bars, words], title="Where the time goes", said=said, width=WIDTH - 120, height=alt.Step(20))


def comparison(
    a: pd.DataFrame | EventQuery, b: pd.DataFrame | EventQuery | None = None, by: str | None = None, *, most: int = 30
) -> Chart:
    """
    How ``b`` differs from ``a``: the ratio of medians with its 95 % interval, and what fails now and did not.

    Args:
        a: Events, executions or a query; or, without ``b``, what `playhead.frames.compare` gave.
        b: What it is compared with.
        by: The column that matches them, as `playhead.frames.compare` takes it.
        most: How many rows are drawn: those that changed most; how many others there are is said.

    Raises:
        ValueError: ``a`` alone is no comparison, there is no such column, or ``most`` is below 1.
    """
    if most < 1:
        raise ValueError(f"most={most!r} must be at least 1; write 30")
    if b is not None:
        found = frames.compare(rows_of(a), rows_of(b), by)
    elif isinstance(a, pd.DataFrame) and "comparison" in a.attrs:
        found = a
    else:
        raise ValueError("a alone is no comparison: write comparison(a, b), or comparison(frames.compare(a, b))")
    shown = found.head(most).reset_index(names="of")
    shown["change"] = shown["change"].astype("str")
    shown["place"] = shown["ratio"].where(shown["ratio"] > 0).fillna(1.0)
    shown["low"], shown["high"] = shown["low"].fillna(shown["place"]), shown["high"].fillna(shown["place"])
    shown["told"] = [_told(row) for row in shown.to_dict("records")]
    shown = shown[["of", "change", "place", "low", "high", "told"]].assign(of=shown["of"].astype("str"))
    scale = alt.Scale(domain=list(_CHANGES), range=list(_CHANGES.values()))
    name = str(found.index.name)
    told = alt.Legend(values=[change for change in _CHANGES if (shown["change"] == change).any()], orient="bottom")
    base = alt.Chart(shown).encode(
        alt.Y("of:N", sort=shown["of"].tolist(), title=None), alt.Color("change:N", scale=scale, title=None, legend=told),
        tooltip=[alt.Tooltip("of:N", title=name), alt.Tooltip("change:N"), alt.Tooltip("told:N", title="median")],
    )  # fmt: skip
    ratios = alt.Scale(type="log", nice=False)
    one = alt.Chart(pd.DataFrame({"x": [1.0]})).mark_rule(strokeDash=[3, 3], color="currentColor", opacity=0.6)
    rules = base.mark_rule(strokeWidth=2).encode(
        alt.X("low:Q", scale=ratios, title="times as long as before"), alt.X2("high:Q")
    )
    forms = alt.Scale(domain=list(_CHANGES), range=["cross", "cross", "triangle-up", *["circle"] * 5])
    shapes = alt.Shape("change:N", scale=forms, legend=None)
    points = base.mark_point(filled=True, size=60, opacity=1).encode(alt.X("place:Q", scale=ratios), shapes)
    words = base.mark_text(align="left", dx=9).encode(alt.Text("told:N"), x=alt.value(WIDTH - 160))
    layers = [one.encode(alt.X("x:Q", scale=ratios)), rules, points, words]
    said = _overall(found, len(shown))
    return chart(layers, title="Before and after", said=said, width=WIDTH - 160, height=alt.Step(18))


def _told(row: Mapping[Any, Any]) -> str:
    if row["change"] in ("newly failing", "still failing"):
        return f"{row['change']}: {row['failed_b']} of {row['runs_b']}"
    if not np.isfinite(row["ratio"]):
        return str(row["change"])
    return f"{said_length(row['median_a'])} → {said_length(row['median_b'])}"


def _overall(found: pd.DataFrame, drawn: int) -> list[str]:
    counts = found["change"].value_counts()
    said = ", ".join(f"{count:,} {change}" for change, count in counts.items() if count)
    about = found.attrs.get("comparison", {})
    lines = [f"by {found.index.name}: {said}" if said else "nothing to compare"]
    if about.get("median_ratio") is not None:
        sure = f" (95 %: {about['low']:.3g} to {about['high']:.3g})" if about["low"] is not None else ""
        lines.append(f"together {about['median_ratio']:.3g} times as long{sure}, {about['matched']:,} matched")
    if drawn < len(found):
        lines.append(f"drawn are the {drawn:,} of {len(found):,} that changed most")
    return lines
