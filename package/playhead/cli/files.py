"""``playhead export``, ``playhead import`` and ``playhead prune``: recordings and servers to files and back."""

from __future__ import annotations

import gzip
import sys
import uuid
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import IO, Annotated, Any, cast

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import typer

from playhead.cli.arguments import Target, Token, existing
from playhead.client import Client, connect
from playhead.client.local import LocalClient
from playhead.client.remote import RemoteClient
from playhead.columns import KNOWN, join, wire_lines
from playhead.errors import InvalidEvent
from playhead.events import NewEvent, new_event
from playhead.times import duration_s, parse_time

ENDINGS = (".parquet", ".arrow", ".csv", ".ndjson", ".ndjson.gz")
_GROUP = 10_000
File = Annotated[Path, typer.Argument(help=f"Its ending says what it is: {', '.join(ENDINGS)}.")]
_SPACE = uuid.UUID("0f6a6f1e-7a3c-5f0e-8a52-2d1f3f6f9b11")


def ending(path: Path) -> str:
    """Which of `ENDINGS` a file has; raises ValueError."""
    found = next((one for one in sorted(ENDINGS, key=len, reverse=True) if path.name.endswith(one)), None)
    if found is None:
        raise ValueError(f"{path.name!r}: a file ends in one of {', '.join(ENDINGS)}")
    return found


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text}\033[K", end="", file=sys.stderr, flush=True)


def export(source: Target, file: File, token: Token = None) -> None:
    """Write every event to a file, by its ending; the file appears whole or not at all."""
    kind = ending(file)
    draft = file.with_name(f".{file.name}.part")
    with connect(existing(source), token=token) as client:
        try:
            rows = _write(client, kind, draft)
            draft.rename(file)
        finally:
            draft.unlink(missing_ok=True)
    _say("")
    print(f"{rows:,} events in {file}")


def _write(client: Client, kind: str, draft: Path) -> int:
    query = client.events()
    if kind == ".parquet":
        return query.to_parquet(draft)
    reader = query.to_reader()
    rows = 0
    opened = gzip.open if kind == ".ndjson.gz" else open
    with cast("IO[bytes]", opened(draft, "wb")) as out:
        writer: Any = None
        if kind == ".arrow":
            writer = pa.ipc.new_file(out, reader.schema, options=pa.ipc.IpcWriteOptions(compression="zstd"))
        elif kind == ".csv":
            writer = pyarrow.csv.CSVWriter(out, reader.schema)
        for batch in reader:
            rows += batch.num_rows
            if writer is None:
                out.writelines(line + b"\n" for line in wire_lines(batch))
            else:
                writer.write_batch(batch)
            _say(f"{rows:,} events")
        if writer is not None:
            writer.close()
    return rows


def _rows(file: Path, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each event stands in the file, and its fields."""
    if kind in (".ndjson", ".ndjson.gz"):
        yield from _json_rows(file, kind)
        return
    try:
        if kind == ".parquet":
            batches: Any = pyarrow.parquet.ParquetFile(file).iter_batches()
        elif kind == ".arrow":
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
        raise ValueError(f"{file} cannot be read as {kind}: {error}; nothing was imported") from None


def _json_rows(file: Path, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    opened = gzip.open if kind == ".ndjson.gz" else open
    try:
        with cast("IO[bytes]", opened(file, "rb")) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    try:
                        yield f"line {number}", msgspec.json.decode(line)
                    except (msgspec.DecodeError, RecursionError) as error:
                        raise ValueError(f"{file}, line {number}: not JSON: {error}; nothing was imported") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{file} cannot be read as {kind}: {error}; nothing was imported") from None


def _checked(file: Path, kind: str) -> Iterator[NewEvent]:
    """The file's events, validated; one without an id gets one by its place and content, so a second import adds nothing."""
    for index, (where, fields) in enumerate(_rows(file, kind)):
        try:
            event = new_event(fields, index)
        except InvalidEvent as error:
            field = f", field {error.field!r}" if error.field else ""
            raise ValueError(f"{file}, {where}{field}: {error.reason}; nothing was imported") from None
        if event.fresh_id:
            text = f"{where}\n{msgspec.json.encode(fields, order='sorted').decode()}"
            event = msgspec.structs.replace(event, id=str(uuid.uuid5(_SPACE, text)), fresh_id=False)
        yield event


def import_(file: File, target: Target, token: Token = None) -> None:
    """Read events of a file into a recording or a server. The whole file is checked before anything is stored."""
    kind = ending(file)
    count = 0
    for _ in _checked(file, kind):
        count += 1
        if count % _GROUP == 0:
            _say(f"{count:,} events checked")
    read = stored = 0
    try:
        with connect(target, token=token) as client:
            events = _checked(file, kind)
            while group := list(islice(events, _GROUP)):
                stored += _store(client, group)
                read += len(group)
                _say(f"{read:,} of {count:,} events read")
    except KeyboardInterrupt:
        _say("")
        print(f"interrupted: {read:,} of {count:,} events are stored; run it again to store the rest", file=sys.stderr)
        raise
    _say("")
    print(f"{count:,} events read, {stored:,} stored, {count - stored:,} were there already")


def _store(client: Client, group: list[NewEvent]) -> int:
    if isinstance(client, LocalClient):
        done = client.recording.submit(group).result()
        return done.accepted - done.duplicates
    if isinstance(client, RemoteClient):
        return client.send(group)
    raise TypeError(f"cannot import into {client!r}")


def prune(
    target: Target,
    older_than: Annotated[str, typer.Option(help="A time with a zone, or a duration back from now such as 30d.")],
    token: Token = None,
) -> None:
    """Really delete the events with an older timestamp."""
    try:
        than = datetime.now(UTC) - timedelta(seconds=duration_s(older_than))
    except OverflowError:
        raise ValueError(f"--older-than {older_than!r} is longer than there has been time") from None
    except ValueError:
        than = parse_time(older_than, "--older-than")
    with connect(existing(target), token=token) as client:
        if isinstance(client, LocalClient):
            deleted = client.recording.delete_older(than)
        elif isinstance(client, RemoteClient):
            deleted = client.delete_older(than)
        else:
            raise TypeError(f"cannot prune {client!r}")
    print(f"{deleted:,} events deleted")
