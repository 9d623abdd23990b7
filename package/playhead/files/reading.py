"""Files of events, ours and those of other systems, as events that are valid; what could not be mapped is counted."""

from __future__ import annotations

import gzip
import lzma
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import msgspec
import zstandard

from playhead.columns import KNOWN, join
from playhead.errors import InvalidEvent
from playhead.events import NewEvent, new_event

Fields = dict[str, Any]
Rows = Iterator[tuple[str, Fields]]  # where each event stands in the file, and its fields
_SPACE = uuid.UUID("0f6a6f1e-7a3c-5f0e-8a52-2d1f3f6f9b11")
PACKED = (".gz", ".xz", ".zst")
_UNREADABLE = (gzip.BadGzipFile, lzma.LZMAError, EOFError, zlib.error, zstandard.ZstdError)


class Source(NamedTuple):
    """A file, what it is, and what of it had no place in an event: counted by what it is, filled while it is read."""

    path: Path
    kind: str
    unmapped: Counter[str]


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


def lines(source: Source) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are not empty, with their numbers; unpacked where its ending is one of `PACKED`."""
    try:
        with opened(source) as found:
            for number, line in enumerate(found, 1):
                if line.strip():
                    yield number, line
    except _UNREADABLE as error:
        raise ValueError(f"{source.path} cannot be read as {source.kind}: {error}; nothing was imported") from None


def opened(source: Source) -> IO[bytes]:
    """The file's bytes, unpacked."""
    opener: Any = {".gz": gzip.open, ".xz": lzma.open, ".zst": zstandard.open}.get(source.path.suffix, open)
    return cast("IO[bytes]", opener(source.path, "rb"))


def kind_of(path: Path) -> str:
    """What a file is, one of `KINDS`, by its ending or else by how it begins; raises ValueError."""
    name = path.name
    for packed in PACKED:
        name = name.removesuffix(packed)
    kind = name.rpartition(".")[2]
    if kind in KINDS:
        return kind
    raise ValueError(f"{path.name!r}: a file ends in one of {', '.join(KINDS)}, or say --format")


# what a file can be -> what reads its rows
KINDS: dict[str, Callable[[Source], Rows]] = {
    "parquet": _table_rows, "arrow": _table_rows, "csv": _table_rows, "ndjson": _json_rows,
}  # fmt: skip
