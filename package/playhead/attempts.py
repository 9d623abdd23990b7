"""
What events make of executions, a column at a time: the rules of `playhead.state` as a fold over Arrow tables.

A row is an event, or an attempt that an earlier fold left and that the events continue. Attempts lie before the events,
and each says what a single event would that queued, started, ended and told all that is known of it; so what holds for
events holds for them. Everything is decided on the numbers of rows, which ascend with the log: the first row of an
attempt that ends it, the last that counts and tells a step. Values are taken out of their columns at the end.

tests/test_state.py holds `fold` to `playhead.state.Executions`.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from playhead.events import END_TYPES, JOB_TYPES, START_TYPE
from playhead.state import STATES

Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint8]
Value = TypeVar("Value", bound=np.generic)

_MOMENT = pa.timestamp("us", tz="UTC")
# what `fold` gives: the columns of an executions frame, then what a recording needs to go on
ATTEMPTS = pa.schema(
    [
        ("execution_id", pa.string()), ("job_id", pa.string()), ("batch_id", pa.string()), ("attempt", pa.int32()),
        ("state", pa.string()), ("queued", _MOMENT), ("started", _MOMENT), ("ended", _MOMENT),
        ("duration", pa.duration("us")), ("progress", pa.float64()), ("step", pa.string()), ("url", pa.string()),
        ("site_name", pa.string()), ("site_url", pa.string()), ("goal", pa.string()), ("error", pa.string()),
        ("events", pa.int64()), ("first_seq", pa.int64()), ("last_seq", pa.int64()), ("pair_first_seq", pa.int64()),
        ("organization_id", pa.string()), ("is_mixed", pa.bool_()), ("end_seq", pa.int64()), ("is_newest", pa.bool_()),
        ("is_wanted", pa.bool_()),
    ]
)  # fmt: skip
COLUMNS = ATTEMPTS.names[: ATTEMPTS.names.index("last_seq") + 1]  # those of an executions frame
# a column of an attempt: the events' column that it comes from, and of which row ("told": the last that counts and tells)
_SOURCES = {
    "execution_id": ("execution_id", "first"), "job_id": ("job_id", "first"), "batch_id": ("batch_id", "first"),
    "queued": ("timestamp", "queue"), "started": ("timestamp", "start"), "ended": ("timestamp", "end"),
    "progress": ("progress_percentage", "told"), "step": ("current_step", "told"), "url": ("current_url", "told"),
    "site_name": ("site_name", "told"), "site_url": ("site_url", "told"), "goal": ("goal", "told"),
    "error": ("error", "end"), "first_seq": ("seq", "first"), "last_seq": ("seq", "last"), "end_seq": ("seq", "end"),
    "pair_first_seq": ("seq", "pair_first"), "organization_id": ("organization_id", "pair_first"),
}  # fmt: skip

# what a row does to its attempt
_BELONGS, _QUEUES, _STARTS, _RUNS, _ENDS = 1, 2, 4, 8, 16
_DEEDS_OF = {"job_queued": _QUEUES, START_TYPE: _STARTS | _RUNS, "job_progress": _RUNS} | dict.fromkeys(END_TYPES, _ENDS)
_QUEUED, _RUNNING = STATES.index("queued"), STATES.index("running")
_STATE_OF = {f"job_{state}": place for place, state in enumerate(STATES)}
# by place in JOB_TYPES; the place after them is for every other type
_DEEDS: Bits = np.array([*(_DEEDS_OF.get(kind, 0) | _BELONGS for kind in JOB_TYPES), 0], np.uint8)
_OUTCOMES: Bits = np.array([*(_STATE_OF.get(kind, _QUEUED) for kind in JOB_TYPES), _QUEUED], np.uint8)
_MOST = 2**21  # rows, whose number cubed is still an int64: a number for each execution, job and row
_TYPES, _STATES = pa.array(JOB_TYPES), pa.array(STATES)


def fold(events: pa.Table, before: pa.Table | None = None) -> pa.Table:
    """
    The attempts that events open or continue.

    A long log may be folded in pieces, each with the newest attempts of the pieces before it. Older attempts are over
    and stay as they are; but ``is_mixed`` speaks of the pair, and holds as the pair's newest attempt says it.

    Args:
        events: In any order; seq says that of the log. Columns: seq, type, timestamp (microseconds, zoned or in UTC),
            execution_id, batch_id, job_id, organization_id, site_url, site_name, goal, current_step, current_url,
            progress_percentage; error, a text in ``job_failed`` and ``job_cancelled`` only; wanted (bool), true where there
            is no such column. Text may be in dictionaries or large. Rows without job_id, or of a type not in `JOB_TYPES`,
            make nothing.
        before: Rows of earlier folds in any order, of each pair its newest attempt or none; all events are later.

    Returns:
        The attempts that the events open or touch and the others of ``before``, with schema `ATTEMPTS`, in order of
        ``first_seq``. ``organization_id`` is that of the pair's first event, ``is_mixed`` whether any event of the pair
        has another (null is one too), ``pair_first_seq`` its first seq; ``end_seq`` is the seq of the event that ended
        the attempt, ``is_newest`` whether it is the newest of its pair here, ``is_wanted`` whether any event of it was.
    """
    rows = _Rows(events, before if before is not None and before.num_rows else None)
    values = {name: rows.values(name, source) for name, (source, _) in _SOURCES.items()}
    deeds, outcomes = rows.deeds()
    deeds *= rows.known(values["job_id"])
    used = np.flatnonzero(deeds)
    if not len(used):
        return ATTEMPTS.empty_table()
    pairs = rows.coded(values["execution_id"])[used] * rows.count + rows.coded(values["job_id"])[used]
    if rows.count > _MOST:
        pairs = _coded(pa.array(pairs))
    runs = _runs(pairs, used, deeds, rows.ordered(_numbers(values["first_seq"])))
    acts = _acts(runs, deeds)

    row_of = {"first": runs.first, "last": runs.last, "pair_first": runs.pair_first}
    row_of |= {"queue": acts.queue, "start": acts.start, "end": acts.end}
    places, columns = {which: rows.places(row) for which, row in row_of.items()}, {}
    for name, (_, which) in _SOURCES.items():
        if which == "told":
            places[which] = rows.places(runs.last_of(np.flatnonzero(acts.counts & rows.known(values[name]))))
        columns[name] = values[name].take(places[which])

    one, owner = np.ones(events.num_rows, np.int64), rows.coded(values["organization_id"])
    is_odd = (owner != owner[runs.pair_first[runs.of_row]]) | (rows.numbers("is_mixed", one * 0) != 0)
    is_wanted = rows.numbers("is_wanted", _numbers(events["wanted"]) if "wanted" in events.column_names else one) != 0
    state = np.where(acts.end < rows.count, outcomes.take(acts.end, mode="clip"), np.where(acts.runs, _RUNNING, _QUEUED))
    columns |= {
        "attempt": pa.array(rows.numbers("attempt", one)[runs.pair_first] + runs.number, pa.int32()),
        "state": _STATES.take(pa.array(state)),
        "duration": pc.subtract(columns["ended"], columns["started"]),
        "events": pa.array(rows.numbers("events", one)[runs.first] + runs.size - 1),
        "is_mixed": pa.array(runs.any_of_pair(used[is_odd[used]])),
        "is_newest": pa.array(runs.is_newest),
        "is_wanted": pa.array(runs.last_of(used[is_wanted[used]]) < rows.count),
    }
    return pa.Table.from_arrays([columns[name] for name in ATTEMPTS.names], schema=ATTEMPTS)


def _acts(runs: _Runs, deeds: Bits) -> _Acts:
    """What the rows of each attempt do to it."""
    none = len(deeds)
    ends, ran, queues = (runs.first_of(np.flatnonzero(deeds & deed)) for deed in (_ENDS, _RUNS, _QUEUES))
    start = np.where(deeds.take(ran, mode="clip") & _STARTS, ran, none)  # not after the end: that opens another attempt
    queue = np.where(queues <= np.minimum(ran, ends), queues, none)
    counts = (deeds != 0) & (np.arange(none) <= ends[runs.of_row])
    for deed, only in ((_STARTS, start), (_QUEUES, queue)):
        doing = np.flatnonzero(deeds & deed)
        counts[doing] &= only[runs.of_row[doing]] == doing
    return _Acts(queue, start, ends, ran < none, counts)


class _Rows:
    """
    Columns of the attempts before, then of the events; ``before`` None when there are none.

    Columns are as they came; numbers, codes and flags of rows are in the order of the log, without the columns being sorted.
    """

    def __init__(self, events: pa.Table, before: pa.Table | None) -> None:
        self._events, self._before = events, before
        self._held = 0 if before is None else before.num_rows
        self.count = self._held + events.num_rows
        seqs = _numbers(events["seq"])
        self._order: Numbers | None = None  # where each row lies; None where they lie in order
        if (seqs[1:] < seqs[:-1]).any():
            self._order = np.append(np.arange(self._held), self._held + _order(seqs))

    def ordered(self, values: npt.NDArray[Value]) -> npt.NDArray[Value]:
        """Of each row as it lies, in the order of the log."""
        return values if self._order is None else values[self._order]

    def known(self, values: pa.Array) -> Flags:
        """Of which rows a column has a value."""
        return self.ordered(_known(values)) if values.null_count else _known(values)

    def coded(self, values: pa.Array) -> Numbers:
        """A number for each distinct value, null being one, below the count of rows."""
        return self.ordered(_numbers(values.dictionary_encode(null_encoding="encode").indices))

    def places(self, rows: Numbers) -> pa.Array:
        """Where rows lie, null for no row."""
        at = rows if self._order is None else self._order.take(rows, mode="clip")
        return pa.array(at, mask=rows == self.count)

    def values(self, name: str, source: str) -> pa.Array:
        """A column of `ATTEMPTS`, and the events' column that is its source, as one array."""
        kind, column = ATTEMPTS.field(name).type, self._events[source]
        chunks = (column if column.type == kind else column.cast(kind)).chunks
        if self._before is not None:
            chunks = self._before[name].chunks + chunks
        return chunks[0] if len(chunks) == 1 else pa.chunked_array(chunks, kind).combine_chunks()

    def numbers(self, name: str, of_events: Numbers) -> Numbers:
        """A column of `ATTEMPTS` as numbers, with those of the events given as they lie."""
        return self.ordered(
            of_events if self._before is None else np.concatenate((_numbers(self._before[name]), of_events))
        )

    def deeds(self) -> tuple[Bits, Bits]:
        """What each row does to its attempt, and the place in `STATES` that it leaves it in if it ends it."""
        kinds = _numbers(pc.index_in(self._events["type"].cast(pa.string()), _TYPES), len(_TYPES))
        deeds, outcomes = _DEEDS[kinds], _OUTCOMES[kinds]
        if self._before is None:
            return self.ordered(deeds), self.ordered(outcomes)
        state = _numbers(pc.index_in(self._before["state"], _STATES)).astype(np.uint8)
        held = np.full(self._held, _BELONGS, np.uint8)
        for deed, name in ((_QUEUES, "queued"), (_STARTS | _RUNS, "started"), (_ENDS, "end_seq")):
            held[_known(self._before[name].combine_chunks())] |= deed
        held[state == _RUNNING] |= _RUNS
        return self.ordered(np.concatenate((held, deeds))), self.ordered(np.concatenate((state, outcomes)))


class _Runs(NamedTuple):
    """The attempts that rows make, in order of ``first_seq``; each is a run of its pair's rows."""

    of_row: Numbers  # the attempt of each row, 0 for rows of none
    first: Numbers  # its first row
    last: Numbers  # its last row
    size: Numbers  # how many rows it has
    number: Numbers  # how many attempts of its pair come before it
    pair_first: Numbers  # the first row of its pair
    is_newest: Flags  # whether none of its pair comes after it

    def first_of(self, rows: Numbers) -> Numbers:
        """The first of the rows that each attempt has; for none the number of all rows."""
        found = np.full(len(self.first), len(self.of_row))
        found[self.of_row[rows[::-1]]] = rows[::-1]  # what is assigned last stays
        return found

    def last_of(self, rows: Numbers) -> Numbers:
        """The last of the rows that each attempt has; for none the number of all rows."""
        found = np.full(len(self.first), len(self.of_row))
        found[self.of_row[rows]] = rows
        return found

    def any_of_pair(self, rows: Numbers) -> Flags:
        """Whether the pair of each attempt has any of the rows."""
        found = np.zeros(len(self.of_row), np.bool_)
        found[self.pair_first[self.of_row[rows]]] = True
        return found[self.pair_first]


class _Acts(NamedTuple):
    """What the rows of each attempt do to it: the row that does, or for none the number of all rows."""

    queue: Numbers  # the row that queues it
    start: Numbers  # the row that starts it
    end: Numbers  # the row that ends it
    runs: Flags  # whether any row makes it run
    counts: Flags  # of all rows: whether it may tell


def _runs(pairs: Numbers, used: Numbers, deeds: Bits, first_seqs: Numbers) -> _Runs:
    """The attempts of the rows ``used``, which belong to ``pairs``."""
    pair, order = _sorted(pairs)
    row = used[order]
    deed, here = deeds[row], np.arange(len(row))
    is_pair = np.append(True, pair[1:] != pair[:-1])
    # an attempt is over if the last row that started or ended one of its pair, or was the pair's first, ended it
    mark = np.maximum.accumulate(np.where(is_pair | (deed & (_STARTS | _ENDS) != 0), here, 0))
    opens = is_pair.copy()
    opens[1:] |= (deed[1:] & _STARTS != 0) & (deed[mark[:-1]] & _ENDS != 0)

    start = np.flatnonzero(opens)
    size, number, is_first = np.diff(start, append=len(row)), np.arange(len(start)), is_pair[start]
    pair_number = np.maximum.accumulate(np.where(is_first, number, 0))
    by_seq = np.argsort(first_seqs[row[start]])
    place = np.empty_like(by_seq)
    place[by_seq] = number
    of_row = np.zeros(len(deeds), np.int64)
    of_row[row] = np.repeat(place, size)
    return _Runs(
        of_row,
        first=row[start][by_seq],
        last=row[start + size - 1][by_seq],
        size=size[by_seq],
        number=(number - pair_number)[by_seq],
        pair_first=row[start][pair_number][by_seq],
        is_newest=np.append(is_first[1:], True)[by_seq],
    )


def _sorted(pairs: Numbers) -> tuple[Numbers, Numbers]:
    """Pairs in order, and their places, ascending within a pair: by one plain sort, which numpy does many times quicker."""
    count = len(pairs)
    keys = pairs * count + np.arange(count)
    keys.sort()
    pairs = keys // count
    return pairs, keys - pairs * count


def _order(seqs: Numbers) -> Numbers:
    """Where numbers that differ lie, the least first; by a place for each number where they are close together."""
    least, count = seqs.min(), len(seqs)
    if (extent := seqs.max() - least + 1) > 8 * count:
        return np.argsort(seqs)
    rows = np.full(extent, -1)
    rows[seqs - least] = np.arange(count)
    return rows if extent == count else rows[rows >= 0]


def _coded(values: pa.Array) -> Numbers:
    """A number for each distinct value, null being one, below the count of values."""
    return _numbers(values.dictionary_encode(null_encoding="encode").indices)


def _known(values: pa.Array) -> Flags:
    """Where an array is not null."""
    if not values.null_count:
        return np.ones(len(values), np.bool_)
    bits = np.frombuffer(values.buffers()[0], np.uint8)  # a fifth of the time of is_valid() for some thousand rows
    return np.unpackbits(bits, count=values.offset + len(values), bitorder="little")[values.offset :].view(np.bool_)


def _numbers(column: pa.Array | pa.ChunkedArray, null: int = 0) -> Numbers:
    """A column of whole numbers or of truths (0 and 1), with a number for null."""
    column = column.cast(pa.int64())
    numbers: Numbers = (column.fill_null(null) if column.null_count else column).to_numpy()
    return numbers
