"""The shape of frames: columns, dtypes and where they came from."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa


def events_frame(table: pa.Table, *, cursor: str, filters: dict[str, Any]) -> pd.DataFrame:
    """
    Events as a frame in log order.

    Args:
        table: The columns of an events frame, as ``Recording.arrow`` gives them.
        cursor: The position it was read at: `follow` from there continues it exactly.
        filters: What was asked.

    Returns:
        A row an event; ``timestamp`` and ``created_at`` datetime64[us, UTC], ``seq`` int64, ``progress_percentage``
        float64, the rest str. ``attrs["playhead"]`` is ``{"cursor", "count", "filters"}``. No events, same columns.
    """
    return _frame(table, cursor, filters)


def executions_frame(table: pa.Table, *, cursor: str, filters: dict[str, Any]) -> pd.DataFrame:
    """
    Executions as a frame, one row an attempt, in order of ``first_seq``.

    Returns:
        ``queued``, ``started``, ``ended`` datetime64[us, UTC], ``duration`` timedelta64[us], ``attempt``, ``events``,
        ``first_seq``, ``last_seq`` integers, ``progress`` float64 (0-100), the rest str; ``attrs`` as above.
    """
    return _frame(table, cursor, filters)


def _frame(table: pa.Table, cursor: str, filters: dict[str, Any]) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=False)
    frame.attrs["playhead"] = {"cursor": cursor, "count": len(frame), "filters": dict(filters)}
    return frame


def concurrency(executions: pd.DataFrame) -> pd.DataFrame:
    """
    How many executions were running at each moment.

    Args:
        executions: An executions frame: columns ``started`` and ``ended``.

    Returns:
        A row for each change; shape ``(n, 1)``, index ``at`` (datetime64[us, UTC], ascending, unique), column
        ``running`` (int64, >= 0). An execution counts in ``[started, ended)``; one without a start never, one without
        an end for good.
    """
    begun = executions[executions["started"].notna()]
    starts = pd.Series(1, index=pd.DatetimeIndex(begun["started"]), dtype="int64")
    ends = pd.Series(-1, index=pd.DatetimeIndex(begun["ended"].dropna()), dtype="int64")
    change = pd.concat([starts, ends]).groupby(level=0).sum().sort_index()
    frame = change.cumsum().astype("int64").to_frame("running")
    frame.index = pd.DatetimeIndex(frame.index, name="at").as_unit("us")
    return frame
