"""What events make: executions, now or at a moment, and the batches that they are of."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from playhead.attempts import ATTEMPTS, COLUMNS, fold
from playhead.columns import FRAME, error_of
from playhead.errors import InvalidCursor
from playhead.events import Cursor
from playhead.frames.shape import executions_frame
from playhead.state import STATES
from playhead.times import parse_time

_AT_ONCE = 1_000_000  # events that are folded together
_NEEDED = tuple(name for name in FRAME if name not in ("id", "created_at"))


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
    checked(events)
    about: dict[str, Any] = events.attrs.get("playhead", {})
    table = attempts(pa.Table.from_pandas(events[list(_NEEDED)], preserve_index=False)).select(COLUMNS)
    return executions_frame(table, cursor=about.get("cursor", ""), filters=about.get("filters", {}))


def state_at(events: pd.DataFrame, at: datetime | str | Cursor) -> pd.DataFrame:
    """
    The executions of a past moment.

    Args:
        events: Events in log order.
        at: A time with a zone, *as it happened*: the events with a ``timestamp`` up to it; or a cursor, *as it was known*:
            those with a ``seq`` up to it.

    Returns:
        As `executions`.

    Raises:
        ValueError: columns are missing, or the time has no zone.
    """
    checked(events)
    position = _position(at)
    if position is not None:
        return executions(events[events["seq"] <= position])
    assert not isinstance(at, Cursor)
    return executions(events[events["timestamp"] <= pd.Timestamp(parse_time(at, "at"))])


def batches(events: pd.DataFrame) -> pd.DataFrame:
    """
    The batches that events are of, newest first.

    Returns:
        A row a batch: ``batch_id`` (str), ``queued running completed failed cancelled executions`` (int64; of the newest
        attempt of each job, counted in the batch of its first event), ``first`` and ``last`` (datetime64[us, UTC]: when
        the first and the last event in log order happened). Events without a batch make none.

    Raises:
        ValueError: columns are missing.
    """
    rows = newest(executions(events))
    named = events[["batch_id", "timestamp"]].dropna(subset="batch_id")
    spans = named.groupby("batch_id", sort=False)["timestamp"].agg(["first", "last"])
    counts = rows.groupby(["batch_id", "state"], observed=True).size().unstack(fill_value=0)
    counts = counts.reindex(index=spans.index, columns=list(STATES), fill_value=0).fillna(0).astype("int64")
    counts["executions"] = counts.sum(axis=1)
    frame = counts.join(spans).iloc[::-1].rename_axis("batch_id").reset_index()
    frame.columns.name = None
    return frame.astype({"batch_id": "str", "first": "datetime64[us, UTC]", "last": "datetime64[us, UTC]"})


def newest(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each job of an executions frame the newest attempt."""
    return rows.drop_duplicates(["execution_id", "job_id"], keep="last")


def executions_of(frame: pd.DataFrame) -> pd.DataFrame:
    """The executions of a frame of events, or those of an executions frame."""
    return frame if {"state", "attempt", "first_seq"} <= set(frame.columns) else executions(frame)


def checked(events: pd.DataFrame) -> None:
    """Raise ValueError where it is no events frame."""
    missing = [name for name in FRAME if name not in events.columns]
    if missing:
        raise ValueError(f"this is no events frame, {', '.join(missing)} is missing; use client.events(…).to_pandas()")


def attempts(events: pa.Table) -> pa.Table:
    """Every attempt that events make, with schema `ATTEMPTS`, in order of ``first_seq``."""
    failed = pc.is_in(events["type"].cast(pa.string()), pa.array(["job_failed", "job_cancelled"]))
    datas = events["data"].filter(failed).to_pylist()
    errors = iter([error_of(data) if data is not None else None for data in datas])
    told = pa.array([next(errors) if is_failed else None for is_failed in failed.to_pylist()], pa.string())
    rows = events.append_column("error", told)
    over: list[pa.Table] = []
    open_ones: pa.Table | None = None
    for start in range(0, rows.num_rows, _AT_ONCE):
        folded = fold(rows.slice(start, _AT_ONCE), open_ones)
        over.append(folded.filter(pc.invert(folded["is_newest"])))
        open_ones = folded.filter(folded["is_newest"])
    found = pa.concat_tables([ATTEMPTS.empty_table(), *over, *([open_ones] if open_ones is not None else [])])
    return found.sort_by("first_seq")


def _position(at: datetime | str | Cursor) -> int | None:
    """The seq of a cursor; None for a time."""
    if isinstance(at, str):
        try:
            at = Cursor.parse(at)
        except InvalidCursor:
            return None
    return at.seq if isinstance(at, Cursor) else None
