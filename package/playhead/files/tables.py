"""
Tables of events, as playhead writes them: CSV, Arrow files and Parquet, with the columns of an events frame or some of them.

Other columns are passed over. A file is read a few rows at a time: in Parquet a long text can stand once and count for millions
of rows, and so can what a page unpacks to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from playhead.columns import KNOWN, Known, join
from playhead.events import MAX_DATA
from playhead.files.cells import plain
from playhead.files.source import ALWAYS_UNPACKED, MOST_UNPACKED, Rows, Source

if TYPE_CHECKING:
    import pyarrow as pa

_NAMES = ("id", "type", "timestamp", "execution_id", "batch_id", "job_id", "organization_id")
_COLUMNS = (*_NAMES, *KNOWN.values(), "data")
_AT_ONCE = 256  # rows
_LONGEST = 2 * MAX_DATA  # bytes of a text


def rows(source: Source) -> Rows:
    """The events of a table, in the order of its rows."""
    import pyarrow as pa

    number = 0
    try:
        for batch in _pieces(source):
            for row in batch.to_pylist():
                number += 1
                known = tuple(row.get(name) for name in KNOWN.values())
                fields = {name: row.get(name) for name in _NAMES}
                if isinstance(fields["timestamp"], str):
                    fields["timestamp"] = fields["timestamp"].replace(" ", "T", 1)
                try:
                    data = join(_checked(known), row.get("data") or "{}")
                except (msgspec.DecodeError, TypeError, AttributeError, RecursionError) as error:
                    raise ValueError(f"{source.path}, row {number}, field 'data': {error}; nothing was imported") from None
                yield f"row {number}", fields | {"data": data}
    except (pa.ArrowException, OSError, OverflowError, UnicodeDecodeError, msgspec.MsgspecError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk; what is wrong with the file has none
            raise
        raise ValueError(f"{source.path} cannot be read as {source.kind}: {error}; nothing was imported") from None


def _checked(known: tuple[Any, ...]) -> Known:
    """What stands in the columns of known fields, if it can be what they hold."""
    *texts, progress = known
    for value in texts:
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{value!r:.80} is no text, as the columns {', '.join(list(KNOWN.values())[:-1])} hold")
    if progress is not None and not isinstance(progress, int | float):
        raise TypeError(f"{progress!r:.80} is no number, as the column progress_percentage holds")
    return (*texts, None if progress is None else float(progress))


def _pieces(source: Source) -> Iterator[pa.RecordBatch]:
    """Rows of the columns that an event has, so few at a time that they take little however long their values are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for batch in _batches(source):
        for start in range(0, batch.num_rows, _AT_ONCE):
            piece = batch.slice(start, _AT_ONCE)
            for name in piece.schema.names:
                column = piece.column(name)
                if isinstance(column, pa.DictionaryArray):
                    used = pc.take(column.dictionary, pc.unique(column.indices.drop_null()))
                else:
                    used = column
                if _is_text(used.type) and (longest := pc.max(pc.binary_length(used)).as_py() or 0) > _LONGEST:
                    raise source.refusal(f"column {name}", f"a value has {longest:,} bytes; it takes {_LONGEST:,}")
                if used is not column:
                    piece = piece.set_column(piece.schema.get_field_index(name), name, column.dictionary_decode())
            yield piece


def _batches(source: Source) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    if source.kind == "parquet":
        file = pyarrow.parquet.ParquetFile(source.path)
        names = _columns(source, file.schema_arrow)
        _check_packing(source, file.metadata)
        # texts as they are kept, each once, and not once a row
        texts = [name for name in names if _is_text(file.schema_arrow.field(name).type)]
        yield from pyarrow.parquet.ParquetFile(source.path, read_dictionary=texts).iter_batches(_AT_ONCE, columns=names)
    elif source.kind == "arrow":
        with pa.ipc.open_file(source.path) as opened_file:
            names = _columns(source, opened_file.schema)
            for place in range(opened_file.num_record_batches):
                batch = opened_file.get_batch(place)
                batch.validate(full=True)  # a file may say that a text stands where nothing is
                yield batch.select(names)
    else:
        text = {name: pa.string() for name in _COLUMNS if name != "progress_percentage"}
        convert = pyarrow.csv.ConvertOptions(
            column_types=text | {"progress_percentage": pa.float64()}, include_columns=_COLUMNS,
            include_missing_columns=True, strings_can_be_null=True, quoted_strings_can_be_null=False,
        )  # fmt: skip
        parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
        for batch in pyarrow.csv.open_csv(source.path, parse_options=parse, convert_options=convert):
            yield plain(batch)


def _columns(source: Source, schema: pa.Schema) -> list[str]:
    """Which columns of a file are an event's; raises ValueError where one of them holds what none does."""
    import pyarrow as pa

    names = [name for name in _COLUMNS if name in schema.names]
    for name in names:
        kind = schema.field(name).type
        kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        is_id = pa.types.is_fixed_size_binary(kind) and kind.byte_width == 16
        if not (_is_text(kind) or pa.types.is_null(kind) or pa.types.is_primitive(kind) or is_id):
            raise source.refusal(f"column {name}", f"is of type {str(kind)[:80]}; write text, numbers or times")
    return names


def _check_packing(source: Source, metadata: Any) -> None:
    """Refuse a Parquet file whose pages unpack to far more than events can have been packed from."""
    for group in range(metadata.num_row_groups):
        for place in range(metadata.num_columns):
            column = metadata.row_group(group).column(place)
            size = column.total_uncompressed_size
            if size > max(ALWAYS_UNPACKED, MOST_UNPACKED * column.total_compressed_size):
                reason = f"unpacks to {size:,} bytes, over {MOST_UNPACKED} times its size"
                raise source.refusal(f"column {column.path_in_schema}", reason)


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
