"""What events make: executions, now or at a moment, and the batches that they are of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
from playhead.frames.spread import by_pair, is_spread, narrowed
from playhead.state import STATES
from playhead.times import parse_time

_AT_ONCE = 1_000_000  # events that are folded together
_SCHEMA = pa.schema([ATTEMPTS.field(name) for name in COLUMNS])
NEEDED = tuple(name for name in FRAME if name not in ("id", "created_at"))  # of an events frame, to make executions


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
    if is_spread(events):
        found = by_pair(events, NEEDED, _plain, _SCHEMA.empty_table().to_pandas())
        return _shaped(pa.Table.from_pandas(found, schema=_SCHEMA, preserve_index=False).sort_by("first_seq"), {})
    return _shaped(_made(events), events.attrs.get("playhead", {}))


def _shaped(table: pa.Table, about: dict[str, Any]) -> pd.DataFrame:
    return executions_frame(table, cursor=about.get("cursor", ""), filters=about.get("filters", {}))


def _plain(events: pd.DataFrame) -> pd.DataFrame:
    """Executions whose dtypes do not depend on what there is."""
    found: pd.DataFrame = _made(events).to_pandas()
    return found


def _made(events: pd.DataFrame) -> pa.Table:
    needed = events[list(NEEDED)]
    parts = (needed.iloc[place : place + _AT_ONCE] for place in range(0, len(needed), _AT_ONCE))
    return attempts(pa.Table.from_pandas(part, preserve_index=False) for part in parts)


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
    checked(events)
    seen = narrowed(events, ("seq", "batch_id", "timestamp")) if is_spread(events) else events
    return batches_of(executions(events), seen)


def batches_of(rows: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    """The same of executions that are made already; of the events ``batch_id`` and ``timestamp`` are looked at."""
    rows = newest(rows)
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


def checked(events: pd.DataFrame, needed: Sequence[str] = NEEDED) -> None:
    """Raise ValueError where it is no events frame."""
    missing = [name for name in needed if name not in events.columns]
    if missing:
        raise ValueError(f"this is no events frame, {', '.join(missing)} is missing; use client.events(…).to_pandas()")


def attempts(events: Iterable[pa.Table | pa.RecordBatch]) -> pa.Table:
    """The executions that events make, which come in log order, with the columns `NEEDED`; those of an executions frame."""
    over: list[pa.Table] = []
    open_ones: pa.Table | None = None
    for part in _together(events):
        folded = fold(_with_errors(part), open_ones)
        over.append(folded.filter(pc.invert(folded["is_newest"])))
        open_ones = folded.filter(folded["is_newest"])
    found = pa.concat_tables([ATTEMPTS.empty_table(), *over, *([open_ones] if open_ones is not None else [])])
    return found.sort_by("first_seq").select(COLUMNS)


def _together(parts: Iterable[pa.Table | pa.RecordBatch]) -> Iterator[pa.Table]:
    """Parts that come one after the other, as many at a time as are folded together."""
    waiting: list[pa.Table] = []
    for part in parts:
        waiting.append(part if isinstance(part, pa.Table) else pa.Table.from_batches([part]))
        if sum(one.num_rows for one in waiting) >= _AT_ONCE:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _with_errors(events: pa.Table) -> pa.Table:
    failed = pc.is_in(events["type"].cast(pa.string()), pa.array(["job_failed", "job_cancelled"]))
    datas = events["data"].filter(failed).to_pylist()
    errors = iter([error_of(data) if data is not None else None for data in datas])
    told = pa.array([next(errors) if is_failed else None for is_failed in failed.to_pylist()], pa.string())
    return events.append_column("error", told)


def _position(at: datetime | str | Cursor) -> int | None:
    """The seq of a cursor; None for a time."""
    if isinstance(at, str):
        try:
            at = Cursor.parse(at)
        except InvalidCursor:
            return None
    return at.seq if isinstance(at, Cursor) else None
