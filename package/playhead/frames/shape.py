"""The shape of frames: columns, dtypes and where they came from."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa

_FEW = {"type", "state"}  # of few different values


def events_frame(table: pa.Table, *, cursor: str, filters: dict[str, Any]) -> pd.DataFrame:
    """
    Events as a frame in log order.

    Args:
        table: The columns of an events frame, as ``Recording.arrow`` gives them.
        cursor: The position it was read at: `follow` from there continues it exactly.
        filters: What was asked.

    Returns:
        A row an event; ``timestamp`` and ``created_at`` datetime64[us, UTC], ``seq`` int64, ``progress_percentage``
        float64, ``type`` a category, the rest str. ``attrs["playhead"]`` is ``{"cursor", "count", "filters"}``.
        No events, same columns.
    """
    return _frame(table, cursor, filters)


def executions_frame(table: pa.Table, *, cursor: str, filters: dict[str, Any]) -> pd.DataFrame:
    """
    Executions as a frame, one row an attempt, in order of ``first_seq``.

    Returns:
        ``queued``, ``started``, ``ended`` datetime64[us, UTC], ``duration`` timedelta64[us], ``attempt``, ``events``,
        ``first_seq``, ``last_seq`` integers, ``progress`` float64 (0-100), ``state`` a category, the rest str;
        ``attrs`` as above.
    """
    return _frame(table, cursor, filters)


def _frame(table: pa.Table, cursor: str, filters: dict[str, Any]) -> pd.DataFrame:
    for name in _FEW & set(table.column_names):
        table = table.set_column(table.schema.get_field_index(name), name, table[name].dictionary_encode())
    frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=False)
    frame.attrs["playhead"] = {"cursor": cursor, "count": len(frame), "filters": dict(filters)}
    return frame
