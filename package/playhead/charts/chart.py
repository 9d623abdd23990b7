"""What all charts share: how one shows itself, its colours in either theme, and into what stretches time is cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from playhead.client.query import EventQuery
from playhead.frames.executions import executions_of
from playhead.state import STATES

try:
    import altair as alt
except ModuleNotFoundError:
    raise ModuleNotFoundError("charts need Altair: pip install 'playhead[analysis]'") from None

WIDTH = 640
# at least 3:1 against white and against JupyterLab's darkest background (WCAG 2.2, 1.4.11)
COLOURS = {"queued": "#a8842c", "running": "#2f80d0", "completed": "#2c9a58", "failed": "#d84a4a", "cancelled": "#868686"}
BLUE, RED, GREY = COLOURS["running"], COLOURS["failed"], COLOURS["cancelled"]
_STATES = alt.Scale(domain=list(STATES), range=[COLOURS[state] for state in STATES])
_MIME = "application/vnd.vegalite.v5+json"
_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
_PADDING = {"left": 32, "right": 48, "top": 5, "bottom": 5}  # of a drawing: what reads it may have a wider font
_INK = "currentColor"  # the text colour of the page that it is in
_CONFIG = {
    "background": "transparent", "font": "Arial, Liberation Sans, Helvetica, sans-serif",  # of equal widths
    "view": {"stroke": None},
    "axis": {
        "domainColor": _INK, "tickColor": _INK, "labelColor": _INK, "titleColor": _INK, "gridColor": _INK, "gridOpacity": 0.12,
        "domainOpacity": 0.5, "tickOpacity": 0.5, "labelLimit": 220, "titleFontWeight": "normal",
    },
    "legend": {"labelColor": _INK, "titleColor": _INK, "titleFontWeight": "normal"},
    "title": {"color": _INK, "subtitleColor": _INK, "anchor": "start", "offset": 10},
}  # fmt: skip
_CLOCK = {
    "year": "%Y", "month": "%b %Y", "date": "%d %b", "hours": "%H:%M", "minutes": "%H:%M", "seconds": "%H:%M:%S",
    "milliseconds": "%S.%L s",
}  # fmt: skip
_TIMES = alt.Axis(format=_CLOCK, labelOverlap="greedy", labelSeparation=8)
_UNITS = (("days", 86_400), ("h", 3_600), ("min", 60), ("s", 1), ("ms", 1e-3))
_STEPS = [pd.Timedelta(one) for one in (
    "1us", "10us", "100us", "1ms", "10ms", "100ms", "1s", "2s", "5s", "10s", "15s", "30s", "1min", "2min", "5min", "10min",
    "15min", "30min", "1h", "2h", "3h", "6h", "12h", "1D", "2D", "7D", "14D", "28D", "91D", "364D",
)]  # fmt: skip


class Chart(alt.LayerChart):
    """
    An Altair chart that can be layered, changed and saved like any other.

    JupyterLab draws it, in the colours of its theme; where nothing does, in a notebook saved as HTML for one, it is a drawing
    on white that needs no network.
    """

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        import vl_convert

        told = self.to_dict()
        drawing = vl_convert.vegalite_to_svg(told | {"padding": _PADDING, "background": "white"})
        return {_MIME: told | {"$schema": _SCHEMA}, "image/svg+xml": drawing}  # JupyterLab prefers HTML to the first


def chart(layers: list[Any], *, title: str, said: str | list[str], **more: Any) -> Chart:
    """A chart of layers, with a title, and a subtitle that says what it counts and how."""
    found = Chart(layer=layers, title=alt.TitleParams(title, subtitle=said), config=_CONFIG, **more)
    found.usermeta = {"embedOptions": {"renderer": "svg"}}  # which knows the page's colour
    return found


def rows_of(data: pd.DataFrame | EventQuery) -> pd.DataFrame:
    """The executions of a query, of events, or those given."""
    return data.executions() if isinstance(data, EventQuery) else executions_of(data)


def by_state(**more: Any) -> alt.Color:
    """The colour of a state."""
    return alt.Color("state:N", scale=_STATES, title=None, **more)


def edge_by_state() -> alt.Stroke:
    """The same for an edge, with which the shortest bar is still seen."""
    return alt.Stroke("state:N", scale=_STATES, title=None)


def time_axis(name: str, **more: Any) -> alt.X:
    """Time from left to right, in UTC."""
    return alt.X(f"{name}:T", scale=alt.Scale(type="utc"), axis=_TIMES, title="UTC", **more)


def said_length(length: pd.Timedelta) -> str:
    """``1.49 s``, ``5 min``, ``2.5 h``, ``3 days``: a length as a person reads it."""
    name, size = unit(length)
    return f"{length.total_seconds() / size:.3g} {'day' if name == 'days' and length.total_seconds() == size else name}"


def unit(length: pd.Timedelta) -> tuple[str, float]:
    """The unit that a length is best told in, and its seconds."""
    return next(one for one in _UNITS if length.total_seconds() >= one[1] or one is _UNITS[-1])


def stretch(first: pd.Timestamp, last: pd.Timestamp, most: int) -> pd.Timedelta:
    """The shortest of the usual lengths that cuts a time into at most so many stretches."""
    fitting = (one for one in _STEPS if (last.floor(one) - first.floor(one)) / one < most)
    return next(fitting, _STEPS[-1])


def micros(moments: pd.Series) -> np.ndarray:
    """Moments as microseconds since 1970."""
    found: np.ndarray = moments.astype("datetime64[us, UTC]").astype("int64").to_numpy()
    return found


def level(starts: np.ndarray, ends: np.ndarray, at: np.ndarray) -> np.ndarray:
    """How many of ``[start, end)`` hold each moment; all in microseconds."""
    begun: np.ndarray = np.searchsorted(np.sort(starts), at, side="right")
    return begun - np.searchsorted(np.sort(ends), at, side="right")


def mean_level(starts: np.ndarray, ends: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many of ``[start, end)`` there were between each two edges, on average over the time: exact, from the areas."""

    def area(moments: np.ndarray) -> np.ndarray:  # of all times after the moments, up to each edge
        ordered = np.sort(moments) - edges[0]
        sums = np.concatenate(([0.0], np.cumsum(ordered, dtype=np.float64)))
        before = np.searchsorted(ordered, edges - edges[0], side="right")
        found: np.ndarray = before * (edges - edges[0]).astype(np.float64) - sums[before]
        return found

    whole = area(starts) - area(ends)
    found: np.ndarray = np.maximum(np.diff(whole) / np.diff(edges), 0.0)
    return found


def number(count: int, noun: str) -> str:
    """``1 execution``, ``2,000 executions``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
