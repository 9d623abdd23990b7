"""Files of events, ours and those of other systems, as events that are valid; what could not be mapped is counted."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from playhead.errors import InvalidEvent
from playhead.events import NewEvent, new_event
from playhead.files import spark, swf, tables, xes
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
            try:
                text = f"{where}\n{msgspec.json.encode(fields, order='sorted').decode()}"
            except (RecursionError, OverflowError) as error:  # of what is passed over, such as an old seq
                raise source.refusal(where, error) from None
            event = msgspec.structs.replace(event, id=str(uuid.uuid5(_SPACE, text)), fresh_id=False)
        yield event


def _rows(source: Source) -> Rows:
    return KINDS[source.kind](source)


def _json_rows(source: Source) -> Rows:
    for number, line in lines(source):
        try:
            yield f"line {number}", msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
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
    "parquet": tables.rows, "arrow": tables.rows, "csv": tables.rows, "ndjson": _json_rows,
    "spark": spark.rows, "swf": swf.rows, "xes": xes.rows,
}  # fmt: skip
