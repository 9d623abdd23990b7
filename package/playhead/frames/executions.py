"""Executions out of an events frame, and how many ran at each moment."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa

from playhead.attempts import COLUMNS, fold
from playhead.columns import FRAME, error_of
from playhead.frames.shape import executions_frame


def executions(events: pd.DataFrame) -> pd.DataFrame:
    """
    The executions that events make, by the rules of the log.

    Args:
        events: Events in log order, as ``EventQuery.to_pandas()`` gives them.

    Returns:
        An executions frame (see `executions_frame`), one row an attempt, in order of ``first_seq``; ``attrs["playhead"]`` as
        the events have it. No events gives the same columns and dtypes.

    Raises:
        ValueError: columns are missing.
    """
    missing = [name for name in FRAME if name not in events.columns]
    if missing:
        raise ValueError(f"this is no events frame, {', '.join(missing)} is missing; use client.events(…).to_pandas()")
    about: dict[str, Any] = events.attrs.get("playhead", {})
    rows = pa.Table.from_pandas(events[list(FRAME)], preserve_index=False)
    failed = events["type"].isin(("job_failed", "job_cancelled"))
    errors = [error_of(data) if told else None for data, told in zip(events["data"], failed, strict=True)]
    table = fold(rows.append_column("error", pa.array(errors, pa.string()))).select(COLUMNS)
    return executions_frame(table, cursor=about.get("cursor", ""), filters=about.get("filters", {}))


def concurrency(events: pd.DataFrame) -> pd.DataFrame:
    """
    How many executions were running at each moment.

    Args:
        events: Events in log order, as ``EventQuery.to_pandas()`` gives them.

    Returns:
        A row for each change; shape ``(n, 1)``, index ``at`` (datetime64[us, UTC], ascending, unique), column
        ``running`` (int64, >= 0). An execution counts in ``[started, ended)``; one without a start never, one without
        an end to the last event. No events gives ``(0, 1)`` with these dtypes.
    """
    begun = executions(events).dropna(subset="started")
    starts = pd.Series(1, index=pd.DatetimeIndex(begun["started"]), dtype="int64")
    ends = pd.Series(-1, index=pd.DatetimeIndex(begun["ended"].dropna()), dtype="int64")
    change = pd.concat([starts, ends]).groupby(level=0).sum().sort_index()
    frame = change.cumsum().astype("int64").to_frame("running")
    frame.index = pd.DatetimeIndex(frame.index, name="at").as_unit("us")
    return frame
