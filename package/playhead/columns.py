"""
The columns of an events table: known ``data`` fields typed, the rest JSON text, and back again without loss.

A known field of a wrong type or range stays in the rest and its column is null; so does what a column cannot give back
exactly (``45.0``, which a number column would return as ``45``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
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
_NUMBERS = (int, float)  # and not bool, which is an int
_TEXTS = ("siteUrl", "siteName", "goal", "currentStep", "currentUrl")
# of an events table on disk, in its order: name -> SQL type
TABLE: dict[str, str] = {
    "seq": "BIGINT", "id": "UUID", "type": "VARCHAR", "timestamp": "TIMESTAMP", "execution_id": "VARCHAR",
    "batch_id": "VARCHAR", "job_id": "VARCHAR", "organization_id": "VARCHAR", "site_url": "VARCHAR",
    "site_name": "VARCHAR", "goal": "VARCHAR", "current_step": "VARCHAR", "current_url": "VARCHAR",
    "progress_percentage": "DOUBLE", "data": "VARCHAR", "created_at": "TIMESTAMP", "expires_at": "TIMESTAMP",
}  # fmt: skip
FRAME = tuple(name for name in TABLE if name != "expires_at")
_NOTHING: Known = (None, None, None, None, None, None)
_START = datetime(1970, 1, 1, tzinfo=UTC)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def known_fields(data: Mapping[str, Any]) -> Known:
    """The known fields of ``data`` that are of their type and range, in the order of `KNOWN`; None for the others."""
    get = data.get
    site_url, site_name, goal, step, url = get("siteUrl"), get("siteName"), get("goal"), get("currentStep"), get("currentUrl")
    number = get("progressPercentage")
    if number is not None and (type(number) not in _NUMBERS or not 0 <= number <= 100):
        number = None
    return (
        site_url if type(site_url) is str else None,
        site_name if type(site_name) is str else None,
        goal if type(goal) is str else None,
        step if type(step) is str else None,
        url if type(url) is str else None,
        None if number is None else float(number),
    )


def split(data: Mapping[str, Any]) -> tuple[Known, str]:
    """The typed fields, and JSON text of what is left (``{}`` when nothing is)."""
    if not data:
        return _NOTHING, "{}"
    known = known_fields(data)
    rest = dict(data)
    for name, value in zip(_TEXTS, known, strict=False):
        if value is not None:
            del rest[name]
    progress = known[5]
    # a whole number written as a float would come back as an int, so it stays in the rest too
    if progress is not None and not (progress.is_integer() and type(rest["progressPercentage"]) is float):
        del rest["progressPercentage"]
    return known, _encode(rest).decode() if rest else "{}"


def join(known: Known, rest: str) -> dict[str, Any]:
    """``data`` as it was published."""
    data: dict[str, Any] = {}
    site_url, site_name, goal, step, url, progress = known
    if site_url is not None:
        data["siteUrl"] = site_url
    if site_name is not None:
        data["siteName"] = site_name
    if goal is not None:
        data["goal"] = goal
    if step is not None:
        data["currentStep"] = step
    if url is not None:
        data["currentUrl"] = url
    if progress is not None:
        data["progressPercentage"] = int(progress) if progress.is_integer() else progress
    if rest != "{}":
        data.update(_decode(rest.encode()))
    return data


def utc(moment: datetime) -> datetime:
    """A time without a zone, or in any spelling of UTC, as UTC."""
    return moment.replace(tzinfo=UTC)


def micros(moment: datetime) -> int:
    """Microseconds since 1970 in UTC."""
    since = moment - _START
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def to_arrow(events: Iterable[Event]) -> pa.Table:
    """Events as a table for the log: the columns of `TABLE`, ``id`` as text, times as timestamp[us] in UTC."""
    import numpy as np
    import pyarrow as pa

    rows = list(events)
    parts = [split(event.data) for event in rows]
    text = pa.string()

    def times(values: Iterable[datetime | None]) -> pa.Array:
        known: dict[datetime | None, int | None] = {None: None}  # the times of storing are few
        found = []
        for value in values:
            if value not in known:
                known[value] = micros(value) if value is not None else None
            found.append(known[value])
        return pa.array(found, pa.int64()).view(pa.timestamp("us"))

    moments = np.fromiter((micros(event.timestamp) for event in rows), np.int64, len(rows))
    columns: dict[str, pa.Array] = {
        "seq": pa.array([event.seq for event in rows], pa.int64()),
        "id": pa.array([event.id for event in rows], text),
        "type": pa.array([event.type for event in rows], text),
        "timestamp": pa.array(moments).view(pa.timestamp("us")),
        "execution_id": pa.array([event.execution_id for event in rows], text),
        "batch_id": pa.array([event.batch_id for event in rows], text),
        "job_id": pa.array([event.job_id for event in rows], text),
        "organization_id": pa.array([event.organization_id for event in rows], text),
    }
    for place, name in enumerate(KNOWN.values()):
        kind = pa.float64() if name == "progress_percentage" else text
        columns[name] = pa.array([part[0][place] for part in parts], kind)
    columns["data"] = pa.array([part[1] for part in parts], text)
    columns["created_at"] = times(event.created_at for event in rows)
    columns["expires_at"] = times(event.expires_at for event in rows)
    return pa.table(columns)


def events_of(table: pa.Table | pa.RecordBatch) -> list[Event]:
    """Events of rows with the columns of `TABLE` or of `FRAME` (which say no ``expires_at``), times zoned or in UTC."""
    import pyarrow as pa

    names = set(table.schema.names)
    known_moments: dict[int | None, datetime | None] = {None: None}  # the times of storing are few

    def moments(name: str) -> list[datetime | None]:
        found = []
        for number in table.column(name).cast(pa.int64()).to_pylist():
            moment = known_moments.get(number)
            if moment is None and number is not None:
                moment = known_moments[number] = _START + timedelta(microseconds=number)
            found.append(moment)
        return found

    def plain(name: str) -> list[Any]:
        found: list[Any] = table.column(name).to_pylist()
        return found

    known = zip(*(plain(name) for name in KNOWN.values()), strict=True)
    data = [join(fields, rest) for fields, rest in zip(known, plain("data"), strict=True)]
    expires = moments("expires_at") if "expires_at" in names else [None] * table.num_rows
    return [
        Event(*row)
        for row in zip(
            plain("seq"), plain("id"), plain("type"), moments("timestamp"), plain("execution_id"), plain("batch_id"),
            plain("job_id"), plain("organization_id"), data, moments("created_at"), expires, strict=True,
        )
    ]  # fmt: skip


def wire_lines(table: pa.Table | pa.RecordBatch) -> list[bytes]:
    """Rows as lines of wire JSON, without their ends."""
    return [event.to_json() for event in events_of(table)]
