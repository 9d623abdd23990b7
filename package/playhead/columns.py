"""
The columns of an events table: known ``data`` fields typed, the rest JSON text, and back again without loss.

A known field of a wrong type or range stays in the rest and its column is null; so does what a column cannot give back
exactly (``45.0``, which a number column would return as ``45``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec

from playhead.events import Event, NewEvent

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
_NONE = type(None)
_NOTHING: Known = (None, None, None, None, None, None)
_START = datetime(1970, 1, 1, tzinfo=UTC)
_encode, _encode_lines = msgspec.json.Encoder().encode, msgspec.json.Encoder().encode_lines
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def known_fields(data: Mapping[str, Any]) -> Known:
    """The known fields of ``data`` that are of their type and range, in the order of `KNOWN`; None for the others."""
    get = data.get
    site_url, site_name, goal, step, url = get("siteUrl"), get("siteName"), get("goal"), get("currentStep"), get("currentUrl")
    return (
        site_url if type(site_url) is str else None,
        site_name if type(site_name) is str else None,
        goal if type(goal) is str else None,
        step if type(step) is str else None,
        url if type(url) is str else None,
        _progress(get("progressPercentage")),
    )


def _progress(value: Any) -> float | None:
    return float(value) if type(value) in _NUMBERS and 0 <= value <= 100 else None


def _is_kept(value: Any) -> bool:
    """Whether a progress stays in the rest too: a whole number written as a float would come back as an int."""
    return type(value) is float and 0 <= value <= 100 and value.is_integer()


def split(data: Mapping[str, Any]) -> tuple[Known, str]:
    """The typed fields, and JSON text of what is left (``{}`` when nothing is)."""
    if not data:
        return _NOTHING, "{}"
    known = known_fields(data)
    rest = dict(data)
    for name, value in zip(_TEXTS, known, strict=False):
        if value is not None:
            del rest[name]
    if known[5] is not None and not _is_kept(rest["progressPercentage"]):
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


def error_of(rest: str) -> str | None:
    """The ``error`` of the text of the ``data`` column, where it is a text."""
    error = _decode(rest.encode()).get("error") if "error" in rest else None
    return error if isinstance(error, str) else None


def utc(moment: datetime) -> datetime:
    """A time without a zone, or in any spelling of UTC, as UTC."""
    return moment.replace(tzinfo=UTC)


def micros(moment: datetime) -> int:
    """Microseconds since 1970 in UTC."""
    since = moment - _START
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


_PERCENT = msgspec.Meta(ge=0, le=100)


class _Known(msgspec.Struct, rename="camel", gc=False):
    """What `known_fields` takes, checked in C."""

    site_url: str | None = None
    site_name: str | None = None
    goal: str | None = None
    current_step: str | None = None
    current_url: str | None = None
    progress_percentage: Annotated[int, _PERCENT] | Annotated[float, _PERCENT] | None = None


def to_arrow(events: Iterable[Event]) -> pa.Table:
    """Events as a table for the log: the columns of `TABLE`, ``id`` as arrow.uuid, times as timestamp[us] in UTC."""
    import pyarrow as pa

    rows = list(events)
    return log_table(
        rows,
        seqs=pa.array([event.seq for event in rows], pa.int64()),
        ids=id_bytes([event.id for event in rows]),
        organizations=[event.organization_id for event in rows],
        created_at=_times([event.created_at for event in rows]),
        expires_at=_times([event.expires_at for event in rows]),
    )


def log_table(
    rows: Sequence[Event | NewEvent], *, seqs: pa.Array, ids: bytes, organizations: Sequence[str | None],
    created_at: pa.Array, expires_at: pa.Array,
) -> pa.Table:  # fmt: skip
    """The same where the log gives the place, the owner and the times; ``ids`` as `id_bytes` makes them."""
    import pyarrow as pa

    text = pa.string()
    sixteen = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(rows), [None, pa.py_buffer(ids)])
    return pa.table(
        {
            "seq": seqs,
            "id": pa.ExtensionArray.from_storage(pa.uuid(), sixteen),
            "type": pa.array([event.type for event in rows], text),
            "timestamp": _times([event.timestamp for event in rows]),
            "execution_id": pa.array([event.execution_id for event in rows], text),
            "batch_id": pa.array([event.batch_id for event in rows], text),
            "job_id": pa.array([event.job_id for event in rows], text),
            "organization_id": pa.array(organizations, text),
            **_split_all([event.data for event in rows]),
            "created_at": created_at,
            "expires_at": expires_at,
        }
    )


def id_bytes(identities: Sequence[str]) -> bytes:
    """The 16 bytes of each UUID, one after the other."""
    if set(map(len, identities)) <= {36}:
        found = bytes.fromhex("".join(identities).replace("-", ""))
        if len(found) == 16 * len(identities):
            return found
    return b"".join(UUID(identity).bytes for identity in identities)


def _times(moments: Sequence[datetime | None]) -> pa.Array:
    import pyarrow as pa

    since = [None if moment is None else moment - _START for moment in moments]
    return pa.array(since, pa.duration("us")).view(pa.timestamp("us"))


def _split_all(datas: Sequence[Mapping[str, Any]]) -> dict[str, pa.Array]:
    """`split` of many, as the columns of `TABLE`: a column at a time, and row by row only what has something left."""
    import numpy as np
    import pyarrow as pa

    try:
        known = msgspec.convert(datas, list[_Known])
        numbers: list[Any] = [row.progress_percentage for row in known]
        texts: list[list[Any]] = [
            [row.site_url for row in known], [row.site_name for row in known], [row.goal for row in known],
            [row.current_step for row in known], [row.current_url for row in known],
        ]  # fmt: skip
    except msgspec.ValidationError:  # a known field somewhere is of another type or range
        *texts, numbers = map(list, zip(*map(known_fields, datas), strict=True))
    columns = {
        name: pa.array(values, pa.float64() if values is numbers else pa.string())
        for name, values in zip(KNOWN.values(), (*texts, numbers), strict=True)
    }
    left = np.fromiter(map(len, datas), np.int64, len(datas))  # how many fields of each are in no column
    if not set(map(type, numbers)) <= {int, _NONE}:
        left += [_is_kept(data.get("progressPercentage")) for data in datas]
    for column in columns.values():
        if not column.null_count:
            left -= 1
        elif column.null_count < len(column):
            left -= np.unpackbits(np.frombuffer(column.buffers()[0], np.uint8), count=len(column), bitorder="little")
    rests = ["{}"] * len(datas)
    places = np.flatnonzero(left).tolist()
    others = list(map(dict, map(datas.__getitem__, places)))
    for name, column in zip(KNOWN, columns.values(), strict=True):
        if column.null_count < len(column):
            for other in others:
                other.pop(name, None)
    texts_left = _encode_lines(others).decode().split("\n")
    for place, other, text in zip(places, others, texts_left, strict=False):
        # where the counts differ, a known field broke a rule
        rests[place] = text if len(other) == left[place] else split(datas[place])[1]
    columns["data"] = pa.array(rests, pa.string())
    return columns


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
