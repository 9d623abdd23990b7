"""Files of events, ours and those of other systems, as events that are valid; what could not be mapped is counted."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from playhead.columns import KNOWN, join
from playhead.errors import InvalidEvent
from playhead.events import NewEvent, new_event
from playhead.files import spark, swf, xes
from playhead.files.source import Rows, Source, lines, opened, plain_name

__all__ = ["KINDS", "Source", "kind_of", "read"]

_SPACE = uuid.UUID("0f6a6f1e-7a3c-5f0e-8a52-2d1f3f6f9b11")
# how the first line of a file begins -> what the file is
_BEGINNINGS = (
    (re.compile(rb'\s*\{\s*"Event"\s*:'), "spark"),
    (re.compile(rb'\s*\{.*"type"\s*:'), "ndjson"),
    (re.compile(rb"\s*;\s*\w+\s*:"), "swf"),
    (re.compile(rb"(\xef\xbb\xbf)?\s*(<\?xml|<log)\b"), "xes"),
)
_MOST_LOOKED_AT = 64 * 1024  # bytes of a first line


def read(source: Source) -> Iterator[NewEvent]:
    """
    The file's events, validated; one without an id gets one by its place and content, so a second import adds nothing.

    Raises:
        ValueError: something in it is no event, or it cannot be read as what it is; it says where.
    """
    for index, (where, fields) in enumerate(_rows(source)):
        try:
            event = new_event(fields, index)
        except InvalidEvent as error:
            field = f", field {error.field!r}" if error.field else ""
            raise ValueError(f"{source.path}, {where}{field}: {error.reason}; nothing was imported") from None
        if event.fresh_id:
            text = f"{where}\n{msgspec.json.encode(fields, order='sorted').decode()}"
            event = msgspec.structs.replace(event, id=str(uuid.uuid5(_SPACE, text)), fresh_id=False)
        yield event


def _rows(source: Source) -> Rows:
    return KINDS[source.kind](source)


def _table_rows(source: Source) -> Rows:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    file = source.path
    try:
        if source.kind == "parquet":
            batches: Any = pyarrow.parquet.ParquetFile(file).iter_batches()
        elif source.kind == "arrow":
            opened_file = pa.ipc.open_file(file)
            batches = (opened_file.get_batch(place) for place in range(opened_file.num_record_batches))
        else:
            text = {name: pa.string() for name in ("id", "type", "timestamp", "execution_id", "batch_id", "job_id", "data")}
            text |= {name: pa.string() for name in KNOWN.values() if name != "progress_percentage"}
            convert = pyarrow.csv.ConvertOptions(
                column_types=text | {"organization_id": pa.string(), "progress_percentage": pa.float64()},
                strings_can_be_null=True, quoted_strings_can_be_null=False,
            )  # fmt: skip
            batches = pyarrow.csv.open_csv(file, convert_options=convert)
        number = 0
        for batch in batches:
            for row in batch.to_pylist():
                number += 1
                known = tuple(row.get(name) for name in KNOWN.values())
                names = ("id", "type", "timestamp", "execution_id", "batch_id", "job_id", "organization_id")
                fields = {name: row.get(name) for name in names}
                if isinstance(fields["timestamp"], str):
                    fields["timestamp"] = fields["timestamp"].replace(" ", "T", 1)
                try:
                    data = join(known, row.get("data") or "{}")
                except (msgspec.DecodeError, TypeError) as error:
                    raise ValueError(f"{file}, row {number}, field 'data': {error}; nothing was imported") from None
                yield f"row {number}", fields | {"data": data}
    except pa.ArrowException as error:
        raise ValueError(f"{file} cannot be read as {source.kind}: {error}; nothing was imported") from None


def _json_rows(source: Source) -> Rows:
    for number, line in lines(source):
        try:
            yield f"line {number}", msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(f"{source.path}, line {number}: not JSON: {error}; nothing was imported") from None


def kind_of(path: Path) -> str:
    """What a file is, one of `KINDS`, by its ending or else by how it begins; raises ValueError."""
    kind = plain_name(path).rpartition(".")[2]
    if kind in KINDS:
        return kind
    with opened(Source(path, "text", Counter())) as found:
        first = b"\n"
        while first and not first.strip():
            first = found.readline(_MOST_LOOKED_AT)
    for pattern, kind in _BEGINNINGS:
        if pattern.match(first):
            return kind
    raise ValueError(f"{path.name!r}: a file ends in one of {', '.join(KINDS)}, or say --format")


# what a file can be -> what reads its rows
KINDS: dict[str, Callable[[Source], Rows]] = {
    "parquet": _table_rows, "arrow": _table_rows, "csv": _table_rows, "ndjson": _json_rows,
    "spark": spark.rows, "swf": swf.rows, "xes": xes.rows,
}  # fmt: skip
