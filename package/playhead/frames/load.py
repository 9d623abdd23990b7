"""How much went on: executions that run at a moment, what begins and ends in a stretch of time."""

from __future__ import annotations

import pandas as pd

from playhead.frames.executions import executions_of

_ENDED = ("completed", "failed", "cancelled")


def concurrency(events: pd.DataFrame) -> pd.DataFrame:
    """
    How many executions were running at each moment.

    Args:
        events: Events in log order, as ``EventQuery.to_pandas()`` gives them, or an executions frame.

    Returns:
        A row for each change; shape ``(n, 1)``, index ``at`` (datetime64[us, UTC], ascending, unique), column
        ``running`` (int64, >= 0). An execution counts in ``[started, ended)``; one without a start never, one without
        an end to the last event. No events gives ``(0, 1)`` with these dtypes.
    """
    begun = executions_of(events).dropna(subset="started")
    starts = pd.Series(1, index=pd.DatetimeIndex(begun["started"]), dtype="int64")
    ends = pd.Series(-1, index=pd.DatetimeIndex(begun["ended"].dropna()), dtype="int64")
    change = pd.concat([starts, ends]).groupby(level=0).sum().sort_index()
    frame = change.cumsum().astype("int64").to_frame("running")
    frame.index = pd.DatetimeIndex(frame.index, name="at").as_unit("us")
    return frame


def throughput(events: pd.DataFrame, every: str = "1min") -> pd.DataFrame:
    """
    What began and what ended in each stretch of time.

    Args:
        events: Events in log order, or an executions frame.
        every: The length of a stretch, as pandas writes it: ``"30s"``, ``"1min"``, ``"1h"``, ``"1D"``.

    Returns:
        A row a stretch, without holes from the first to the last that has anything; index ``at`` (datetime64[us, UTC]: where
        it begins, on whole multiples of its length since 1970 in UTC), columns ``started completed failed cancelled``
        (int64). No events gives ``(0, 4)`` with these dtypes.

    Raises:
        ValueError: ``every`` is no length above 0.
    """
    try:
        length = pd.Timedelta(every).as_unit("us")
    except ValueError:
        raise ValueError(f"every={every!r} is no length of time; write '30s', '1min', '1h' or '1D'") from None
    if length < pd.Timedelta(1, "us"):
        raise ValueError(f"every={every!r} must be above 0; write '30s', '1min', '1h' or '1D'")
    rows = executions_of(events)
    counts = {"started": rows["started"].dropna()}
    counts |= {state: rows.loc[rows["state"] == state, "ended"].dropna() for state in _ENDED}
    frame = pd.DataFrame({name: _begins(moments, length).value_counts() for name, moments in counts.items()})
    if len(frame):
        frame = frame.reindex(pd.date_range(frame.index.min(), frame.index.max(), freq=length, unit="us"))
    frame.index = pd.DatetimeIndex(frame.index, name="at", dtype="datetime64[us, UTC]")
    return frame.fillna(0).astype("int64")


def _begins(moments: pd.Series, length: pd.Timedelta) -> pd.Series:
    """Where the stretch begins that each moment is in."""
    numbers = moments.astype("int64")
    whole = length // pd.Timedelta(1, "us")
    return pd.Series(pd.to_datetime(numbers - numbers % whole, unit="us", utc=True)).dt.as_unit("us")
