"""
A tape: events as a page holds them to draw any moment of them, and the pieces in which it gets them.

The page applies the rules of `playhead.state` itself (js/rules.js; tests/test_tape.py holds the two together), so a piece
is what was published, in columns. It is one run of bytes, so that it travels, is saved and is put into a file as it is::

    u32 length of the header | header, JSON | columns | lengths of the texts, u32 | the texts, UTF-8

    header  {"first": events before it, "n": events in it, "base": microseconds of its first event, "seq": its number,
             "far": [[index, microseconds]] steps of time that no i32 holds, "columns": [name…] those with anything in them,
             "firstPlace", "places": [[executionId, jobId]…], "firstType", "types": [name…],
             "texts": [how many of each column of texts]}

Each part begins at a multiple of 8. A place is a pair of execution and job, either may be null, in order of appearance.
``at`` and ``seq`` are steps from the event before. A text has a number in the piece, from 1 on; a column of texts has 0 for
none, 1 for the column's next new one (its first text is the one after those of the columns before it), and number + 1 for
one that it had. Numbers lie byte by byte, all first bytes, all second …, which makes them small once deflated: pieces of at
least 16 KB go as ``zlib`` and then the piece, deflated.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from playhead.columns import known_fields, micros
from playhead.events import FAILURES, Event

_DTYPES = {
    "at": "<i4", "seq": "<u4", "type": "<u2", "place": "<u4", "progress": "<f4", "step": "<u4", "url": "<u4", "error": "<u4",
    "message": "<u4", "batch": "<u4", "goal": "<u4", "siteName": "<u4", "siteUrl": "<u4",
}  # fmt: skip
# of an events frame, those that a tape is made of
COLUMNS = (
    "seq", "type", "timestamp", "execution_id", "batch_id", "job_id", "organization_id", "site_url", "site_name", "goal",
    "current_step", "current_url", "progress_percentage", "data",
)  # fmt: skip
_TEXTS = ("step", "url", "error", "message", "batch", "goal", "siteName", "siteUrl")
_NO_STEP = -(2**31)
_ZIPPED = 16_384
_SMALL = 131_072  # events up to which pieces are made as small as can be, to be saved; past it they are made in half the time
SEALED = 65_536  # events of a piece that is kept for good
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
Ints = npt.NDArray[np.int64]


class _Columns(NamedTuple):
    """Events in columns: numbers as arrays, texts as Arrow."""

    seq: Ints
    at: Ints
    progress: npt.NDArray[np.float32]
    type: pa.Array
    execution: pa.Array
    job: pa.Array
    texts: tuple[pa.Array, ...]  # in the order of _TEXTS


def zipped(piece: bytes, level: int = 1) -> bytes:
    """A piece as it travels: deflated when that is worth it."""
    return b"zlib" + zlib.compress(piece, level) if len(piece) >= _ZIPPED else piece


class Tape:
    """What has been put on a tape: pieces that are kept for good, and the events since."""

    def __init__(self) -> None:
        self.sealed: list[bytes] = []
        self.length = 0
        self._sealed_length = self._encoded = 0
        self._tail: list[Event] = []
        self._appended = 0
        self._places: dict[tuple[str | None, str | None], int] = {}
        self._types: dict[str, int] = {}
        self._sealed_places = self._sealed_types = 0

    def append(self, events: Sequence[Event]) -> bytes:
        """Put events at its end; the piece that tells a page of them."""
        piece = self._piece(_of_events(events), self.length, len(self._places), len(self._types))
        self._tail.extend(events)
        self._appended += 1
        self.length += len(events)
        return zipped(piece)

    def encode(self, table: pa.Table) -> bytes:
        """What an events frame's rows are once they are put at its end, by `keep`; several may be on their way, in order."""
        if self._tail:
            self.seal()
        piece = self._piece(_of_table(table), self._encoded, len(self._places), len(self._types))
        self._encoded += table.num_rows
        return piece

    def deflated(self, piece: bytes) -> bytes:
        """A piece that was encoded, as it travels."""
        return zipped(piece, 6 if self.length <= _SMALL else 1)

    def keep(self, piece: bytes, rows: int) -> bytes:
        """Put rows that were encoded and deflated at its end, at once a sealed piece; the piece."""
        self.length += rows
        return self._keep(piece)

    def extend(self, table: pa.Table) -> bytes:
        """Put an events frame's rows at its end, at once a sealed piece; the piece as it travels."""
        return self.keep(self.deflated(self.encode(table)), table.num_rows)

    @property
    def unsealed(self) -> int:
        """Events since the last sealed piece."""
        return len(self._tail)

    @property
    def is_worth_sealing(self) -> bool:
        """Whether the events since the last sealed piece came in so many that they are smaller as one."""
        return self._appended >= 64

    def seal(self) -> bytes:
        """Keep the events since the last sealed piece as one, and let go of them."""
        piece = zipped(self._tail_piece(), 6)
        self._tail = []
        self._appended = 0
        return self._keep(piece)

    def pieces(self) -> list[bytes]:
        """All of it."""
        return [*self.sealed, *([zipped(self._tail_piece())] if self._tail else [])]

    def _keep(self, piece: bytes) -> bytes:
        self.sealed.append(piece)
        self._sealed_length = self.length
        self._encoded = max(self._encoded, self.length)
        self._sealed_places, self._sealed_types = len(self._places), len(self._types)
        return piece

    def _tail_piece(self) -> bytes:
        return self._piece(_of_events(self._tail), self._sealed_length, self._sealed_places, self._sealed_types)

    def _piece(self, columns: _Columns, first: int, first_place: int, first_type: int) -> bytes:
        n = len(columns.seq)
        numbers, dictionaries = _numbered(columns.texts)
        texts = pa.concat_arrays(dictionaries)
        steps = np.diff(columns.at, prepend=columns.at[:1])
        far = np.flatnonzero(np.abs(steps) >= 2**31)
        arrays: dict[str, npt.NDArray[Any]] = {
            "at": steps, "seq": np.diff(columns.seq, prepend=columns.seq[:1]), "type": self._types_of(columns.type),
            "place": self._places_of(columns), "progress": columns.progress, **dict(zip(_TEXTS, numbers, strict=True)),
        }  # fmt: skip
        header: dict[str, Any] = {
            "first": first, "n": n, "base": int(columns.at[0]) if n else 0, "seq": int(columns.seq[0]) if n else 0,
            "far": [[int(index), int(steps[index])] for index in far],
            "columns": [name for name, values in arrays.items() if name not in _TEXTS or values.any()],
            "firstPlace": first_place, "places": list(self._places)[first_place:],
            "firstType": first_type, "types": list(self._types)[first_type:],
            "texts": [len(dictionary) for dictionary in dictionaries],
        }  # fmt: skip
        steps[far] = _NO_STEP
        offsets = np.frombuffer(texts.buffers()[1], np.int32, len(texts) + 1, texts.offset * 4) if len(texts) else np.zeros(1)
        data = texts.buffers()[2]
        text = b"" if data is None or not len(texts) else data[int(offsets[0]) : int(offsets[-1])].to_pybytes()
        body = _encode(header)
        parts = [len(body).to_bytes(4, "little") + body]
        parts += [_planes(arrays[name].astype(_DTYPES[name])) for name in header["columns"]]
        parts += [np.diff(offsets).astype("<u4").tobytes(), text]
        return b"".join(part + bytes(-len(part) % 8) for part in parts)

    def _types_of(self, types: pa.Array) -> Ints:
        coded = types.dictionary_encode()
        known = [self._types.setdefault(name, len(self._types)) for name in coded.dictionary.to_pylist()]
        indices: Ints = coded.indices.to_numpy(zero_copy_only=False)
        return np.array(known, np.int64)[indices] if known else np.zeros(0, np.int64)

    def _places_of(self, columns: _Columns) -> Ints:
        execution, job = _codes(columns.execution), _codes(columns.job)
        _, firsts, of_row = np.unique(execution * (len(job) + 1) + job, return_index=True, return_inverse=True)
        order = np.argsort(firsts)
        rows = pa.array(firsts[order])
        places = np.empty(len(firsts), np.int64)
        pairs = zip(columns.execution.take(rows).to_pylist(), columns.job.take(rows).to_pylist(), strict=True)
        for which, pair in zip(order, pairs, strict=True):
            places[which] = self._places.setdefault(pair, len(self._places))
        return places[of_row]


def _planes(values: npt.NDArray[Any]) -> bytes:
    return values.view(np.uint8).reshape(len(values), -1).T.tobytes() if len(values) else b""


def _codes(ids: pa.Array) -> Ints:
    coded: pa.DictionaryArray = ids.dictionary_encode()
    codes: Ints = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes + 1


def _numbered(columns: tuple[pa.Array, ...]) -> tuple[list[Ints], list[pa.Array]]:
    """For each column the numbers of its texts, as they go over the wire, and these texts."""
    numbers, texts, count = [], [], 0
    for column in columns:
        coded: pa.DictionaryArray = column.dictionary_encode()
        number = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64) + 1
        seen = np.maximum.accumulate(number) if len(number) else number
        is_new = number > np.concatenate(([0], seen[:-1])) if len(number) else number > 0
        numbers.append(np.where(is_new, 1, np.where(number > 0, number + count + 1, 0)))
        texts.append(coded.dictionary)
        count += len(coded.dictionary)
    return numbers, texts


def _of_table(table: pa.Table) -> _Columns:
    def text(name: str) -> pa.Array:
        return _whole(table, name)

    def number(name: str) -> Ints:
        found: Ints = table.column(name).cast(pa.int64()).to_numpy()
        return found

    kinds = text("type")
    error, message = _told_in(text("data"), kinds)
    return _Columns(
        number("seq"), number("timestamp"), table.column("progress_percentage").to_numpy().astype(np.float32), kinds,
        text("execution_id"), text("job_id"),
        (text("current_step"), text("current_url"), error, message, text("batch_id"), text("goal"), text("site_name"),
         text("site_url")),
    )  # fmt: skip


def with_errors(table: pa.Table) -> pa.Table:
    """An events frame's rows with the column ``error``, as `playhead.attempts.fold` takes them."""
    error, _ = _told_in(_whole(table, "data"), _whole(table, "type"))
    return table.append_column("error", error)


def _whole(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name).combine_chunks()
    return column.chunk(0) if isinstance(column, pa.ChunkedArray) else column


def _told_in(rests: pa.Array, kinds: pa.Array) -> tuple[pa.Array, pa.Array]:
    """The texts ``error`` (of ends that are no success) and ``message`` in the rest of the data."""
    coded: pa.DictionaryArray = rests.dictionary_encode()
    errors: list[str | None] = []
    messages: list[str | None] = []
    for rest in coded.dictionary.to_pylist():
        data = _decode(rest) if '"error"' in rest or '"message"' in rest else {}
        errors.append(_text(data.get("error")))
        messages.append(_text(data.get("message")))
    error = pa.array(errors, pa.string()).take(coded.indices)
    is_failure = pc.is_in(kinds, pa.array(FAILURES))
    return pc.if_else(is_failure, error, pa.scalar(None, pa.string())), pa.array(messages, pa.string()).take(coded.indices)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _of_events(events: Sequence[Event]) -> _Columns:
    known = [known_fields(event.data) for event in events]

    def texts(values: Sequence[object]) -> pa.Array:
        return pa.array(values, pa.string())

    site_url, site_name, goal, step, url = (texts([one[place] for one in known]) for place in range(5))
    return _Columns(
        np.array([event.seq for event in events], np.int64),
        np.array([micros(event.timestamp) for event in events], np.int64),
        np.array([np.nan if one[5] is None else one[5] for one in known], np.float32),
        texts([event.type for event in events]), texts([event.execution_id for event in events]),
        texts([event.job_id for event in events]),
        (step, url, texts([_text(event.data.get("error")) if event.type in FAILURES else None for event in events]),
         texts([_text(event.data.get("message")) for event in events]), texts([event.batch_id for event in events]), goal,
         site_name, site_url),
    )  # fmt: skip
