"""
Every attempt of a long log: each segment folded by itself, two at a time.

That is right for a pair of execution and job whose events all lie in one segment, which is nearly every one. The indexes
tell which pairs are in several, before anything is read; those pairs' events are put aside and folded at the end. A pair
that is not where its segment's index says it begins (an older event was deleted, is another organisation's or later than
asked) is put aside too: a range that is too wide harms nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from playhead.attempts import fold
from playhead.events import Filter
from playhead.recording import sql
from playhead.recording.history import History, Piece, pair_keys, union
from playhead.recording.identities import Numbers, Seqs
from playhead.recording.pace import give_way
from playhead.recording.segments import Segments
from playhead.recording.sql import At

_ASIDE = 1_000_000  # events that are put aside before they are folded
_THREADS = 2


class Together:
    """One question for every attempt: of whose events, at which moment, and which events make an attempt wanted."""

    def __init__(
        self, history: History, segments: Segments, whose: Filter, at: At, wanted: str, values: Sequence[Any]
    ) -> None:
        clause, given = sql.condition(whose, at)
        self._history, self._segments = history, segments
        self._columns, self._values = f"{sql.JOB_COLUMNS}, {wanted} AS wanted", [*values, *given]
        self._clause = f"{clause} AND {sql.IS_OF_A_JOB}"

    def attempts(self, pieces: list[Piece]) -> Iterator[pa.Table]:
        """The attempts that the events of some pieces make, in parts that are in order; the pieces are held by who asks."""
        alone = self._alone(pieces)
        found: list[pa.Table] = []
        aside: list[pa.Table] = []
        late: list[pa.Table] = []
        before: pa.Table | None = None
        with ThreadPoolExecutor(_THREADS, "playhead-fold", initializer=give_way) as readers:
            try:
                for rows, rest in readers.map(self._piece, pieces, alone):
                    found.append(rows)
                    aside.append(rest)
                    if sum(part.num_rows for part in aside) >= _ASIDE:
                        over, before = _gone_on(aside, before)
                        late.append(over)
                        aside = [rest.slice(0, 0)]
                late += _gone_on(aside, before)
                others = sql.in_order(pa.concat_tables(late), "first_seq")
                ends = np.searchsorted(others["first_seq"].to_numpy(), [piece.last for piece in pieces], "right")
                parts = [others.slice(start, end - start) for start, end in zip([0, *ends], ends, strict=False)]
                yield from readers.map(lambda *both: sql.in_order(pa.concat_tables(both), "first_seq"), found, parts)
            finally:
                readers.shutdown(cancel_futures=True)

    def _alone(self, pieces: list[Piece]) -> list[Seqs]:
        """Of each piece's segment the first seqs of the pairs that are in no other."""
        found = [self._segments.indexed(piece.segment).begins() for piece in pieces]
        digests = np.sort(np.concatenate([one.digests for one in found]))
        several = np.unique(digests[1:][digests[1:] == digests[:-1]])
        return [one.first[~_are_in(several, one.digests)] for one in found]

    def _piece(self, piece: Piece, alone: Seqs) -> tuple[pa.Table, pa.Table]:
        """The attempts of the pairs that are in no other segment, and the events of the rest."""
        select, _ = union([piece], self._columns, self._clause)
        events = self._history.ask(select, self._values).to_arrow_table()
        rows = fold(events)
        begins = np.zeros(piece.segment.last - piece.segment.first + 1, np.bool_)
        begins[alone - piece.segment.first] = True
        is_alone = pa.array(begins[rows["pair_first_seq"].to_numpy() - piece.segment.first])
        others = rows.filter(pc.invert(is_alone))
        named = [(events[name], others[name].combine_chunks()) for name in ("execution_id", "job_id")]
        rest = events.filter(pc.and_(*(pc.is_in(column, value_set=some) for column, some in named)))
        keys, asked = (pair_keys(one["execution_id"], one["job_id"]) for one in (rest, others))
        return rows.filter(is_alone), rest.filter(pc.is_in(keys, value_set=asked.combine_chunks()))


def _gone_on(aside: list[pa.Table], before: pa.Table | None) -> tuple[pa.Table, pa.Table]:
    """The attempts that are over for good and those that later events may go on with, after some more events."""
    rows = fold(pa.concat_tables(aside), before)
    return rows.filter(pc.invert(rows["is_newest"])), rows.filter(rows["is_newest"])


def _are_in(several: Numbers, digests: Numbers) -> npt.NDArray[np.bool_]:
    """Which digests are among some that are sorted."""
    if not len(several):
        return np.zeros(len(digests), np.bool_)
    found: npt.NDArray[np.bool_] = several.take(np.searchsorted(several, digests), mode="clip") == digests
    return found
