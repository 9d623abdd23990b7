"""
The columns of an events table: known ``data`` fields typed, the rest JSON text, and back again without loss.

A known field of a wrong type or range stays in the rest and its column is null; so does what a column cannot give back
exactly (``45.0``, which a number column would return as ``45``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from playhead.events import Event

if TYPE_CHECKING:
    import pyarrow as pa

Known = tuple[str | None, str | None, str | None, str | None, str | None, float | None]
KNOWN: dict[str, str] = {
    "siteUrl": "site_url",
    "siteName": "site_name",
    "goal": "goal",
    "currentStep": "current_step",
    "currentUrl": "current_url",
    "progressPercentage": "progress_percentage",
}
_TEXTS = ("siteUrl", "siteName", "goal", "currentStep", "currentUrl")
# of an events table on disk, in its order: name -> SQL type
TABLE: dict[str, str] = {
    "seq": "BIGINT", "id": "UUID", "type": "VARCHAR", "timestamp": "TIMESTAMP", "execution_id": "VARCHAR",
    "batch_id": "VARCHAR", "job_id": "VARCHAR", "organization_id": "VARCHAR", "site_url": "VARCHAR",
    "site_name": "VARCHAR", "goal": "VARCHAR", "current_step": "VARCHAR", "current_url": "VARCHAR",
    "progress_percentage": "DOUBLE", "data": "VARCHAR", "created_at": "TIMESTAMP", "expires_at": "TIMESTAMP",
}  # fmt: skip
FRAME = tuple(name for name in TABLE if name != "expires_at")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def known_fields(data: Mapping[str, Any]) -> Known:
    """The known fields of ``data`` that are of their type and range, in the order of `KNOWN`; None for the others."""
    get = data.get
    texts = [value if isinstance(value := get(name), str) else None for name in _TEXTS]
    number = get("progressPercentage")
    fits = isinstance(number, int | float) and not isinstance(number, bool) and 0 <= number <= 100
    return texts[0], texts[1], texts[2], texts[3], texts[4], float(number) if fits and number is not None else None


def split(data: Mapping[str, Any]) -> tuple[Known, str]:
    """The typed fields, and JSON text of what is left (``{}`` when nothing is)."""
    if not data:
        return (None, None, None, None, None, None), "{}"
    known = known_fields(data)
    rest = dict(data)
    for name, value in zip(KNOWN, known, strict=True):
        if value is None:
            continue
        if not (isinstance(value, float) and value.is_integer() and isinstance(rest[name], float)):
            del rest[name]
    return known, _encode(rest).decode() if rest else "{}"


def join(known: Known, rest: str) -> dict[str, Any]:
    """``data`` as it was published."""
    data: dict[str, Any] = {}
    for name, value in zip(KNOWN, known, strict=True):
        if value is not None:
            data[name] = int(value) if isinstance(value, float) and value.is_integer() else value
    if rest != "{}":
        data.update(_decode(rest.encode()))
    return data


def utc(moment: datetime) -> datetime:
    """A time without a zone, or in any spelling of UTC, as UTC."""
    return moment.replace(tzinfo=UTC)


def to_arrow(events: Iterable[Event]) -> pa.Table:
    """Events as a table for the log: the columns of `TABLE`, ``id`` as text, times as timestamp[us] in UTC."""
    import pyarrow as pa

    rows = list(events)
    parts = [split(event.data) for event in rows]
    micros = pa.timestamp("us")
    text = pa.string()

    def times(values: Iterable[datetime | None]) -> pa.Array:
        return pa.array([None if value is None else value.replace(tzinfo=None) for value in values], micros)

    columns: dict[str, pa.Array] = {
        "seq": pa.array([event.seq for event in rows], pa.int64()),
        "id": pa.array([event.id for event in rows], text),
        "type": pa.array([event.type for event in rows], text),
        "timestamp": times(event.timestamp for event in rows),
        "execution_id": pa.array([event.execution_id for event in rows], text),
        "batch_id": pa.array([event.batch_id for event in rows], text),
        "job_id": pa.array([event.job_id for event in rows], text),
        "organization_id": pa.array([event.organization_id for event in rows], text),
    }
    for place, name in enumerate(KNOWN.values()):
        kind = pa.float64() if name == "progress_percentage" else text
        columns[name] = pa.array([known[place] for known, _ in parts], kind)
    columns["data"] = pa.array([rest for _, rest in parts], text)
    columns["created_at"] = times(event.created_at for event in rows)
    columns["expires_at"] = times(event.expires_at for event in rows)
    return pa.table(columns)


def events_of(table: pa.Table | pa.RecordBatch) -> list[Event]:
    """Events of rows with the columns of `TABLE` or of `FRAME` (which say no ``expires_at``), times zoned or in UTC."""
    names = set(table.schema.names)

    def zoned(name: str) -> list[datetime]:
        return [utc(value) for value in table.column(name).to_pylist()]

    def plain(name: str) -> list[Any]:
        found: list[Any] = table.column(name).to_pylist()
        return found

    known = zip(*(plain(name) for name in KNOWN.values()), strict=True)
    data = [join(fields, rest) for fields, rest in zip(known, plain("data"), strict=True)]
    expires = zoned("expires_at") if "expires_at" in names else [None] * table.num_rows
    return [
        Event(*row)
        for row in zip(
            plain("seq"), plain("id"), plain("type"), zoned("timestamp"), plain("execution_id"), plain("batch_id"),
            plain("job_id"), plain("organization_id"), data, zoned("created_at"), expires, strict=True,
        )
    ]  # fmt: skip


def wire_lines(table: pa.Table | pa.RecordBatch) -> list[bytes]:
    """Rows as lines of wire JSON, without their ends."""
    return [event.to_json() for event in events_of(table)]
