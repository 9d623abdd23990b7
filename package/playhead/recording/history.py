"""
Questions to the log, and their answers in Arrow: pages, streams, counts, what makes executions.

Everything that reads goes through here: history pages, live readers that fell behind, exports, frames.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from playhead.columns import TABLE, micros
from playhead.events import Cursor, Filter
from playhead.recording import sql
from playhead.recording.index import KINDS, Index, SealedIndex
from playhead.recording.pace import give_way
from playhead.recording.packed import STRETCH
from playhead.recording.segments import Segment, Segments
from playhead.recording.sql import At

__all__ = ["EVERYTHING", "At", "History", "Span"]
EVERYTHING = Filter()
_PIECE = 2 * STRETCH  # rows that are looked at at once for a large answer
_SMALL = 65_536  # an answer of so many is read at once
_BATCH = 16_384  # rows that are given on at once
Pair = tuple[str | None, str]


class Span(NamedTuple):
    """A range of seq, both ends inclusive."""

    first: int
    last: int


class Piece(NamedTuple):
    """A segment, the part of it where something that matches may be, and how many events that is at most."""

    segment: Segment
    first: int
    last: int
    most: int


class History:
    """What the segments hold, for those who ask."""

    def __init__(self, segments: Segments) -> None:
        self._segments = segments

    def span(self, after: int | None, upto: int | None, descending: bool) -> Span:
        """The range between two positions: above ``after``, below it when descending; None for all."""
        last = self._segments.head if upto is None else min(upto, self._segments.head)
        if after is None:
            return Span(1, last)
        return Span(1, min(last, after - 1)) if descending else Span(after + 1, last)

    @contextlib.contextmanager
    def pieces(self, where: Filter, span: Span, at: At) -> Iterator[list[Piece]]:
        """
        The pieces to read, in order of seq, held while the block runs.

        Raises:
            RecordingDamaged: one of them cannot be read, which it names; asked again, the others answer.
        """
        last = min(span.last, at.seq) if isinstance(at, Cursor) else span.last
        since = -(2**62) if where.since is None else micros(where.since)
        until = 2**62 if where.until is None else micros(where.until) - 1
        if isinstance(at, datetime):
            until = min(until, micros(at))
        with self._segments.held(span.first, last) as segments:
            found = []
            for segment in segments:
                piece = _piece(segment, max(span.first, segment.oldest), min(last, segment.last), segment.rows)
                if segment.index is not None:
                    narrowed = _narrowed(piece, segment.index, where, since, until)
                    if narrowed is None:
                        continue
                    piece = narrowed
                if piece.first <= piece.last:
                    found.append(piece)
            with self._segments.guarded([piece.segment for piece in found]):
                yield found

    def table(
        self, where: Filter, span: Span, at: At, *, limit: int | None = None, offset: int = 0, descending: bool = False
    ) -> pa.Table:
        """The whole columns of the events that match, in one table."""
        clause, values = sql.condition(where, at)
        with self.pieces(where, span, at) as pieces:
            if clause == "true" and limit is not None:
                pieces, offset = _counted(pieces, limit, offset, descending)
            if not pieces:
                return sql.TABLE_SCHEMA.empty_table()
            return self._page(pieces, sql.named(TABLE), clause, values, limit, offset, descending)

    def _page(
        self, pieces: list[Piece], columns: str, clause: str, values: list[Any], limit: int | None, offset: int,
        descending: bool,
    ) -> pa.Table:  # fmt: skip
        """The events that match in some pieces, at least one, at once."""
        if limit is None:  # Arrow sorts few rows in less time than DuckDB
            selects, times = union(pieces, columns, clause)
            found = self.ask(selects, values * times).to_arrow_table()
            return sql.zoned(sql.in_order(found, is_descending=descending).slice(offset))
        tables: list[pa.Table] = []
        wanted, order = limit + offset, f" ORDER BY seq{' DESC' if descending else ''}"
        for piece in reversed(pieces) if descending else pieces:  # from the end that is asked for, no further than needed
            select, _ = union([piece], columns, clause)
            tables.append(self.ask(f"{select}{order} LIMIT {wanted}", values).to_arrow_table())
            wanted -= tables[-1].num_rows
            if wanted <= 0:
                break
        return sql.zoned(pa.concat_tables(tables).slice(offset, limit))

    def stream(
        self, where: Filter, span: Span, at: At, *, limit: int | None = None, offset: int = 0, descending: bool = False,
        columns: Sequence[str] = (),
    ) -> pa.RecordBatchReader:  # fmt: skip
        """The frame's columns, or those named, of the events that match, as they are read, in flat memory."""
        schema = sql.frame_schema(columns)
        if limit is not None and limit <= _SMALL:
            table = self.table(where, span, at, limit=limit, offset=offset, descending=descending)
            return table.select(schema.names).cast(schema).to_reader()
        batches = self._batches(where, span, at, limit, offset, descending, schema.names)
        return pa.RecordBatchReader.from_batches(schema, batches)

    def _batches(
        self, where: Filter, span: Span, at: At, limit: int | None, offset: int, descending: bool, names: list[str]
    ) -> Iterator[pa.RecordBatch]:
        """Piece by piece, so that no more than so many rows are ever sorted or held."""
        clause, values = sql.condition(where, at)
        columns = sql.named(dict.fromkeys(["seq", *names]))  # by which they are put in order
        with self.pieces(where, span, at) as pieces:
            if clause == "true":
                pieces, offset = _counted(pieces, None, offset, descending)
            if 0 < sum(piece.most for piece in pieces) <= _SMALL:
                found = self._page(pieces, columns, clause, values, limit, offset, descending)
                yield from found.select(names).to_batches(_BATCH)
                return

            def read(piece: Piece) -> pa.Table:
                query, _ = union([piece], columns, clause)
                return sql.zoned(sql.in_order(self.ask(query, values).to_arrow_table(), is_descending=descending))

            for table in _ahead(read, _parts(pieces[::-1] if descending else pieces, descending)):
                skipped = min(offset, table.num_rows)
                offset -= skipped
                table = table.slice(skipped, limit)
                if limit is not None:
                    limit -= table.num_rows
                yield from table.select(names).to_batches(_BATCH)
                if limit == 0:
                    return

    def count(self, where: Filter, at: At, after: int) -> int:
        """How many events match."""
        clause, values = sql.condition(where, at)
        with self.pieces(where, Span(after + 1, self._segments.head), at) as pieces:
            is_all, is_of_types = clause == "true", where == Filter(type=where.type) and at is None
            counted = [
                piece for piece in pieces
                if (is_all and _is_dense(piece.segment)) or (is_of_types and _is_whole(piece, after))
            ]  # fmt: skip
            known = sum(piece.most for piece in counted)
            pieces = [piece for piece in pieces if piece not in counted]
            selects, times = union(pieces, "count(*) AS n", clause)
            if not selects:
                return known
            rows = self.ask(f"SELECT sum(n)::BIGINT FROM ({selects})", values * times).fetchall()
        return known + int(rows[0][0] or 0)

    def latest(self, span: Span) -> int:
        """The latest timestamp in a range, in microseconds since 1970; far in the past where there is none."""
        with self.pieces(EVERYTHING, span, None) as pieces:
            selects, _ = union(pieces, "max(epoch_us(timestamp)) AS n", "true")
            rows = self.ask(f"SELECT max(n) FROM ({selects})", []).fetchall() if selects else [(None,)]
        return int(rows[0][0]) if rows[0][0] is not None else -(2**62)

    def job_events(
        self, whose: Filter, span: Span, at: At, *, wanted: str = "true", values: Sequence[Any] = ()
    ) -> pa.Table:
        """What `playhead.attempts.fold` takes of the events that match; ``wanted`` is SQL of type and timestamp."""
        clause, given = sql.condition(whose, at)
        with self.pieces(whose, span, at) as pieces:
            chosen = sql.JOB_COLUMNS if wanted == "true" else f"{sql.JOB_COLUMNS}, {wanted} AS wanted"
            selects, times = union(pieces, chosen, f"{clause} AND {sql.IS_OF_A_JOB}")
            if not selects:
                return sql.JOB_SCHEMA.empty_table()
            return self.ask(selects, [*values, *given] * times).to_arrow_table()

    def events_of_pairs(
        self, pairs: Sequence[Pair], span: Span, at: At, organization_id: str | None, *, wanted: str = "true",
        values: Sequence[Any] = (),
    ) -> pa.Table:  # fmt: skip
        """The same, of some (executionId, jobId) pairs."""
        if not pairs:
            return sql.JOB_SCHEMA.empty_table()
        executions = {execution for execution, _ in pairs}
        named = tuple(name for name in executions if name is not None) if None not in executions else ()
        whose = Filter(named, (), tuple({job for _, job in pairs}), (), None, None, organization_id)
        table = self.job_events(whose, span, at, wanted=wanted, values=values)
        keys = pair_keys(table["execution_id"], table["job_id"])
        asked = pair_keys(*(pa.chunked_array([pa.array(column, pa.string())]) for column in zip(*pairs, strict=True)))
        return table.filter(pc.is_in(keys, asked))

    def ask(self, query: str, values: list[Any]) -> duckdb.DuckDBPyRelation:
        """A question to the segments."""
        return self._segments.db.sql(query, values)


def _ahead(read: Callable[[Piece], pa.Table], parts: Iterator[Piece]) -> Iterator[pa.Table]:
    """Each part, read while whoever asked is busy with the one before."""
    with ThreadPoolExecutor(1, "playhead-read", initializer=give_way) as reader:
        waiting = [reader.submit(read, part) for part in islice(parts, 1)]
        while waiting:
            table = waiting.pop().result()
            waiting = [reader.submit(read, part) for part in islice(parts, 1)]
            yield table


def _parts(pieces: list[Piece], descending: bool) -> Iterator[Piece]:
    """The pieces, cut small, where row groups meet."""
    for piece in pieces:
        begin = piece.first - (piece.first - piece.segment.first) % _PIECE
        starts = range(begin, piece.last + 1, _PIECE)
        for start in reversed(starts) if descending else starts:
            yield _piece(piece.segment, max(start, piece.first), min(start + _PIECE - 1, piece.last), piece.most)


def _narrowed(piece: Piece, index: Index, where: Filter, since: int, until: int) -> Piece | None:
    """What of a piece can hold a match, by the segment's index; None for nothing."""
    if index.times.last < since or index.times.first > until:
        return None
    for kind in KINDS:
        wanted = getattr(where, kind)
        if wanted:
            found = index.find(kind, wanted)
            if found is None:
                return None
            first, last = max(piece.first, found.first), min(piece.last, found.last)
            piece = _piece(piece.segment, first, last, min(piece.most, found.events))
    return piece


def _piece(segment: Segment, first: int, last: int, most: int) -> Piece:
    return Piece(segment, first, last, min(most, last - first + 1))


def _is_dense(segment: Segment) -> bool:
    """Whether nothing was deleted inside, so that its seqs can be counted without looking."""
    return segment.rows == segment.last - segment.oldest + 1


def _is_whole(piece: Piece, after: int) -> bool:
    """Whether a piece is all that there ever was of a segment, so that its index can count."""
    index = piece.segment.index
    return isinstance(index, SealedIndex) and index.events == piece.segment.rows and after < piece.segment.oldest


def _counted(pieces: list[Piece], limit: int | None, offset: int, descending: bool) -> tuple[list[Piece], int]:
    """Where everything matches: the pieces cut to what is asked for, by arithmetic, and what is left of the offset."""
    kept: list[Piece] = []
    left = 2**62 if limit is None else limit
    for place, piece in enumerate(reversed(pieces) if descending else pieces):
        if not _is_dense(piece.segment):
            rest = pieces[: len(pieces) - place] if descending else pieces[place:]
            return (rest + kept[::-1] if descending else kept + rest), offset
        skipped = min(offset, piece.last - piece.first + 1)
        offset -= skipped
        first, last = (piece.first, piece.last - skipped) if descending else (piece.first + skipped, piece.last)
        taken = min(left, last - first + 1)
        left -= taken
        if taken:
            first, last = (last - taken + 1, last) if descending else (first, first + taken - 1)
            kept.append(_piece(piece.segment, first, last, piece.most))
        if not left:
            break
    return kept[::-1] if descending else kept, offset


def union(pieces: Iterable[Piece], columns: str, where: str) -> tuple[str, int]:
    """One SELECT over the pieces, empty for none, and how many times it takes the values of ``where``."""
    selects = [
        f"SELECT {columns} FROM {segment.table} WHERE seq BETWEEN {first} AND {last} AND {where}"
        for segment, first, last, _ in pieces
    ]
    return " UNION ALL ".join(selects), len(selects)


def pair_keys(executions: pa.ChunkedArray, jobs: pa.ChunkedArray) -> pa.ChunkedArray:
    """One text for each (executionId, jobId); no id is another text than an empty one."""
    named = pc.fill_null(pc.binary_join_element_wise("=", executions, ""), "")
    return pc.binary_join_element_wise(named, jobs, "\0")


def pairs_of(rows: pa.Table) -> list[Pair]:
    """Each (executionId, jobId) that rows name, once."""
    names = ["execution_id", "job_id"]
    pairs = rows.select(names).group_by(names, use_threads=False).aggregate([])
    return list(zip(pairs["execution_id"].to_pylist(), pairs["job_id"].to_pylist(), strict=True))
