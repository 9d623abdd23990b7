"""Pieces of SQL that questions to the log are made of, and the types of what they answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from playhead.columns import FRAME
from playhead.events import JOB_TYPES, Cursor, Filter

At = Cursor | datetime | None
_MANY = 20  # from so many on a join is quicker than a list
TIMES = ("timestamp", "created_at", "expires_at", "queued", "started", "ended")


def naive(moment: datetime) -> datetime:
    """UTC without a zone, as the files hold times."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def one_of(name: str, values: Iterable[str]) -> str:
    """
    SQL for a column that has one of some values.

    Without ``IS TRUE`` DuckDB looks only after it has read all columns, which takes three times as long.
    """
    return f"({name} IN ({', '.join(values)})) IS TRUE"


def ids_condition(where: Filter, *names: str) -> tuple[list[str], list[Any]]:
    """SQL conditions for the named columns of a filter, and their values."""
    parts: list[str] = []
    values: list[Any] = []
    for name in names:
        wanted = getattr(where, name)
        if wanted:
            if len(wanted) > _MANY:
                parts.append(f"{name} IN (SELECT unnest(?::VARCHAR[]))")
                values.append(list(wanted))
            else:
                parts.append(f"{name} = ?" if len(wanted) == 1 else one_of(name, "?" * len(wanted)))
                values += wanted
    return parts, values


def time_condition(where: Filter) -> tuple[list[str], list[Any]]:
    """SQL conditions for ``[since, until)``."""
    parts: list[str] = []
    values: list[Any] = []
    if where.since is not None:
        parts.append("timestamp >= ?")
        values.append(naive(where.since))
    if where.until is not None:
        parts.append("timestamp < ?")
        values.append(naive(where.until))
    return parts, values


def condition(where: Filter, at: At) -> tuple[str, list[Any]]:
    """The WHERE of a question but for its range of seq (``true`` for none), and its values."""
    parts, values = ids_condition(where, "execution_id", "batch_id", "job_id", "type")
    more, given = time_condition(where)
    parts, values = parts + more, values + given
    if isinstance(at, datetime):
        parts.append("timestamp <= ?")
        values.append(naive(at))
    if where.organization_id is not None:
        parts.append("organization_id = ?")
        values.append(where.organization_id)
    return " AND ".join(parts) or "true", values


def named(names: Iterable[str]) -> str:
    """SQL for columns of an events table, ``id`` as text."""
    return ", ".join("id::VARCHAR AS id" if name == "id" else name for name in names)


def zoned(batch: pa.RecordBatch | pa.Table) -> pa.RecordBatch | pa.Table:
    """The same rows with times as timestamp[us, UTC]."""
    schema = zoned_schema(batch.schema)
    return batch.cast(schema) if schema != batch.schema else batch


def unzoned(table: pa.Table) -> pa.Table:
    """The same rows with times as timestamp[us] without a zone, in UTC, as the files hold them."""
    naive_time = pa.timestamp("us")
    fields = [field.with_type(naive_time) if pa.types.is_timestamp(field.type) else field for field in table.schema]
    return table.cast(pa.schema(fields))


def zoned_schema(schema: pa.Schema) -> pa.Schema:
    """A schema whose times are timestamp[us, UTC] and whose ``duration`` is duration[us]."""
    fields = []
    for field in schema:
        if field.name in TIMES:
            field = field.with_type(pa.timestamp("us", "UTC"))
        elif field.name == "duration":
            field = field.with_type(pa.duration("us"))
        fields.append(field)
    return pa.schema(fields)


def page(limit: int | None, offset: int) -> str:
    """SQL for a part of the rows."""
    return (f" LIMIT {int(limit)}" if limit is not None else "") + (f" OFFSET {int(offset)}" if offset else "")


FRAME_SCHEMA = pa.schema(
    [
        pa.field(
            name,
            pa.int64() if name == "seq"
            else pa.float64() if name == "progress_percentage"
            else pa.timestamp("us", "UTC") if name in TIMES
            else pa.string(),
        )
        for name in FRAME
    ]
)  # fmt: skip


def frame_schema(columns: Sequence[str] = ()) -> pa.Schema:
    """The schema of an events frame, or of some of its columns in its order; raises ValueError for one that it has not."""
    for name in columns:
        if name not in FRAME:
            raise ValueError(f"there is no column {name[:40]!r}; an events frame has {', '.join(FRAME)}")
    return pa.schema([field for field in FRAME_SCHEMA if not columns or field.name in columns])


TABLE_SCHEMA = FRAME_SCHEMA.append(pa.field("expires_at", pa.timestamp("us", "UTC")))
IS_OF_A_JOB = f"job_id IS NOT NULL AND {one_of('type', map(repr, JOB_TYPES))}"
IS_FAILURE = "type IN ('job_failed', 'job_cancelled')"
_OF_A_JOB = (
    "seq", "type", "timestamp", "execution_id", "job_id", "batch_id", "organization_id", "site_url", "site_name", "goal",
    "current_step", "current_url", "progress_percentage",
)  # fmt: skip
JOB_COLUMNS = (
    f"{', '.join(_OF_A_JOB)}, CASE WHEN {IS_FAILURE} "
    "AND json_type(data, '$.error') = 'VARCHAR' THEN json_extract_string(data, '$.error') END AS error"
)
JOB_SCHEMA = unzoned(TABLE_SCHEMA.empty_table().select(_OF_A_JOB)).schema.append(pa.field("error", pa.string()))


def in_order(table: pa.Table, by: str = "seq", *, is_descending: bool = False) -> pa.Table:
    """The same rows in order of seq; those of a packed segment are not."""
    numbers = table.column(by).to_numpy()
    steps = numbers[1:] > numbers[:-1]
    if bool((~steps if is_descending else steps).all()):
        return table
    order = pc.sort_indices(table, [(by, "descending" if is_descending else "ascending")])
    return table.combine_chunks().take(order)
