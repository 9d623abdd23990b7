"""Rows of Arrow as a file's bytes, piece by piece, in flat memory: what the server streams and what lands on a disk."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playhead.columns import wire_lines
from playhead.files.cells import harmless

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = {".parquet": "parquet", ".arrow": "arrow-file", ".csv": "csv", ".ndjson": "ndjson", ".ndjson.gz": "ndjson"}
End = Callable[[int, int], str]


class _Sink:
    """A file that keeps only what was not taken yet."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._place = 0
        self.closed = False

    def write(self, part: Any) -> int:
        text = bytes(part)
        self._parts.append(text)
        self._place += len(text)
        return len(text)

    def tell(self) -> int:
        return self._place

    def flush(self) -> None:
        return None

    def close(self) -> None:
        self.closed = True

    def take(self) -> bytes:
        found = b"".join(self._parts)
        self._parts.clear()
        return found


def pieces(name: str, reader: pa.RecordBatchReader, end: End, told: Callable[[int], object] | None = None) -> Generator[bytes]:
    """
    The rows of a reader in a format, a piece a batch.

    Args:
        name: ``ndjson``, ``csv``, ``arrow`` (a stream), ``arrow-file`` or ``parquet``.
        reader: Rows with the columns of an events frame, or some of them.
        end: Given how many rows there were and the ``seq`` of the last, the position to go on from; a Parquet file says it.
        told: Called with how many rows have been written.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    sink = _Sink()
    writer: Any = None
    if name != "ndjson":
        file = pa.PythonFile(sink, mode="w")
        if name == "csv":
            writer = pyarrow.csv.CSVWriter(file, reader.schema)
        elif name == "parquet":
            writer = pyarrow.parquet.ParquetWriter(file, reader.schema, compression="zstd")
        else:
            options = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
            new = pa.ipc.new_stream if name == "arrow" else pa.ipc.new_file
            writer = new(file, reader.schema, options=options)
    rows = last = 0
    for batch in reader:
        rows += batch.num_rows
        if name == "parquet" and batch.num_rows and "seq" in batch.schema.names:
            last = batch.column("seq")[-1].as_py()
        if writer is None:
            yield b"".join(line + b"\n" for line in wire_lines(batch))
        else:
            writer.write_batch(harmless(batch) if name == "csv" else batch)
            if piece := sink.take():
                yield piece
        if told is not None:
            told(rows)
    if writer is not None:
        if name == "parquet":
            writer.add_key_value_metadata({"playhead.cursor": end(rows, last)})
        writer.close()
        yield sink.take()


def write(
    path: str | os.PathLike[str], reader: pa.RecordBatchReader, end: End, told: Callable[[int], object] | None = None,
    *, name: str | None = None,
) -> int:  # fmt: skip
    """
    Write rows to a file by its ending, or as the format ``name``; how many there were. It appears whole or not at all.

    Raises:
        ValueError: the ending is none of `FORMATS`.
    """
    target = Path(path)
    kind = name or FORMATS[ending(target)]
    draft = target.with_name(f".{target.name}.part")
    rows = 0

    def count(written: int) -> None:
        nonlocal rows
        rows = written
        if told is not None:
            told(written)

    try:
        with gzip.open(draft, "wb", 6) if target.name.endswith(".gz") else draft.open("wb") as out:
            for piece in pieces(kind, reader, end, count):
                out.write(piece)
        draft.rename(target)
    finally:
        draft.unlink(missing_ok=True)
    return rows


def write_by_day(folder: str | os.PathLike[str], reader: pa.RecordBatchReader, end: End, about: dict[str, Any]) -> int:
    """
    Write rows as Parquet files ``day=2026-11-23/…parquet`` by the day of ``timestamp`` in UTC; how many there were.

    ``_playhead.json`` in it has ``about``, and ``cursor`` and ``count``; what reads Parquet passes over it. The folder appears
    whole or not at all.

    Raises:
        FileExistsError: it is there already.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset

    target = Path(folder)
    if target.exists():
        raise FileExistsError(f"{target} is there already; name a new folder, or remove it first")
    draft = target.with_name(f".{target.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    day = pa.field("day", pa.string())
    rows = last = 0

    def with_days() -> Iterator[pa.RecordBatch]:
        nonlocal rows, last
        for batch in reader:
            if batch.num_rows:
                rows, last = rows + batch.num_rows, batch.column("seq")[-1].as_py()
            yield batch.append_column(day, pc.strftime(batch.column("timestamp"), "%Y-%m-%d"))

    schema = reader.schema.append(day)
    try:
        pyarrow.dataset.write_dataset(
            pa.RecordBatchReader.from_batches(schema, with_days()), draft, format="parquet",
            file_options=pyarrow.dataset.ParquetFileFormat().make_write_options(compression="zstd"),
            partitioning=pyarrow.dataset.partitioning(pa.schema([day]), flavor="hive"), preserve_order=True,
            max_partitions=100_000, min_rows_per_group=50_000, max_rows_per_group=500_000,
        )  # fmt: skip
        draft.mkdir(exist_ok=True)
        told = {"cursor": end(rows, last), "count": rows} | about
        (draft / "_playhead.json").write_text(json.dumps(told) + "\n")
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return rows


def ending(path: Path) -> str:
    """Which of the endings of `FORMATS` a file has; raises ValueError."""
    found = next((one for one in sorted(FORMATS, key=len, reverse=True) if path.name.endswith(one)), None)
    if found is None:
        raise ValueError(f"{path.name!r}: a file ends in one of {', '.join(FORMATS)}")
    return found
