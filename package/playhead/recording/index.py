"""
Where a segment holds what: the range of seq of each execution, batch, job, type and pair of execution and job, the span of
its timestamps, and which event ids are in it. So a question reads what it needs and no more, and a second publication is
noticed.

An index only ever narrows a question: a range may be too wide and a count too high (deleted rows, two ids with one digest),
never the other way. It can be made again from the segment at any time. A sealed one is a file of plain arrays beside its
segment, ``000000000000000001.index.npz``: for each kind the sorted 64-bit digests (``keys``), the first and last seq of
each, counted from the segment's (``ranges``), and how many events it has (``counts``); for a pair instead the digest of its
batch (``batches``); and what `playhead.recording.identities` keeps of event ids.
"""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from playhead.events import JOB_TYPES
from playhead.recording.directory import whole
from playhead.recording.identities import EventIds, Flags, LiveIds, Numbers, Seqs, held
from playhead.recording.places import Places, digest

KINDS = ("execution_id", "batch_id", "job_id", "type")
_VERSION = 3
_UNFOLDED_ROWS = 1_024
_UNFOLDED_TABLES = 128
_A_SCAN = 2**17  # rows
_FOLDED = ("seq", *KINDS)
Codes = npt.NDArray[np.int64]


class Range(NamedTuple):
    """From one number to another, both inclusive."""

    first: int
    last: int


class Found(NamedTuple):
    """Where events lie, both ends inclusive, and how many there are at most."""

    first: int
    last: int
    events: int


class Pairs(NamedTuple):
    """Of each pair asked for its first and last seq, 0 where it is not there, and the digest of its batch, 0 for several."""

    first: Seqs
    last: Seqs
    batches: Numbers


class Begins(NamedTuple):
    """Of each pair the digest, and the first seq, or an earlier one."""

    digests: Numbers
    first: Seqs


class Index(Protocol):
    """What is known of where things are in one segment."""

    @property
    def times(self) -> Range:
        """The earliest and the latest timestamp, in microseconds since 1970."""

    def find(self, kind: str, ids: Sequence[str]) -> Found | None:
        """Where events of any of these ids, or types, lie; None where there are none."""

    def holds(self, events: EventIds) -> Flags:
        """Which of these events may be here; all that are here are among them."""

    def pairs(self, digests: Numbers) -> Pairs:
        """Where the events of `JOB_TYPES` of these pairs lie, as `pair_digests` names them."""

    def begins(self) -> Begins:
        """Where each pair begins."""


def _pair(execution: str | None, job: str) -> str:
    return f"{execution or ''}\0{job}"


def pair_digests(pairs: Iterable[tuple[str | None, str]]) -> Numbers:
    """64 bits of each pair of an execution, or none, and a job."""
    return np.array([digest(_pair(*pair)) for pair in pairs], np.uint64)


class LiveIndex:
    """
    The index of the segment that is appended to; one thread adds, any may look.

    Event ids are known at once. Where things are is worked out when somebody asks, or when much has come together: a
    thousand rows at a time cost a tenth of what they do one by one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unfolded: list[pa.Table] = []
        self._unfolded_rows = 0
        self._places = {kind: Places() for kind in KINDS}
        self._pairs = Places()  # marked with the digest of their batch
        self._first_time, self._last_time = 2**62, -(2**62)
        self._events = LiveIds()
        self.last = 0  # the newest seq that was added

    @property
    def times(self) -> Range:
        """As `Index.times`."""
        return Range(self._first_time, self._last_time)

    def add(self, rows: pa.Table, events: EventIds) -> None:
        """Take rows of the log, with their ids; to be called before their seqs can be asked for."""
        moments = rows["timestamp"].to_numpy().view(np.int64)
        self._first_time = min(self._first_time, int(moments.min()))
        self._last_time = max(self._last_time, int(moments.max()))
        self._events.add(events)
        with self._lock:
            self.last = max(self.last, int(rows["seq"].to_numpy().max()))
            self._unfolded.append(rows.select(_FOLDED))
            self._unfolded_rows += rows.num_rows

    def settle(self) -> None:
        """Work out where things are if much has come together; takes a few ms then, so not to be called amid a commit."""
        if self._unfolded_rows >= _UNFOLDED_ROWS or len(self._unfolded) >= _UNFOLDED_TABLES:
            with self._lock:
                self._fold()

    @classmethod
    def of(cls, db: duckdb.DuckDBPyConnection, table: str) -> LiveIndex:
        """Of a segment as it is on disk; ``table`` is any relation with the columns of an events table."""
        made = cls()
        rows = db.execute(f"SELECT min(epoch_us(timestamp)), max(epoch_us(timestamp)), max(seq) FROM {table}").fetchall()[0]
        if rows[0] is None:
            return made
        made._first_time, made._last_time, made.last = rows
        made._events.add(EventIds.stored(db, table))
        for batch in db.sql(f"SELECT {', '.join(_FOLDED)} FROM {table}").to_arrow_reader(_A_SCAN):
            made._fold_rows(pa.table(batch))
        return made

    def find(self, kind: str, ids: Sequence[str]) -> Found | None:
        """As `Index.find`."""
        with self._lock:
            self._fold()
            places = self._places[kind]
            return _found(places.named(ids), places.first, places.last, places.counts)

    def holds(self, events: EventIds) -> Flags:
        """As `Index.holds`."""
        return self._events.holds(events)

    def pairs(self, digests: Numbers) -> Pairs:
        """As `Index.pairs`."""
        with self._lock:
            self._fold()
            places = self._pairs.digested(digests)
            is_there = places >= 0
            first, last, batches = self._pairs.first[places], self._pairs.last[places], self._pairs.marks[places]
        return Pairs(*(np.where(is_there, values, values.dtype.type(0)) for values in (first, last, batches)))

    def begins(self) -> Begins:
        """As `Index.begins`."""
        with self._lock:
            self._fold()
            count = len(self._pairs)
            return Begins(self._pairs.digests[:count].copy(), self._pairs.first[:count].copy())

    def seal(self, segment: int) -> SealedIndex:
        """The same as arrays, for the segment that begins with this seq."""
        with self._lock:
            self._fold()
        arrays: dict[str, Any] = {
            "about": np.array([_VERSION, segment, self.last], np.int64), "times": np.array(self.times, np.int64),
            **self._events.arrays(),
        }  # fmt: skip
        for kind, places in (*self._places.items(), ("pair", self._pairs)):
            keys, first, last, counts, batches = places.arrays()
            ranges = (np.stack([first, last], axis=1) - segment).astype(np.uint32)
            extra = {"batches": batches} if kind == "pair" else {"counts": counts.astype(np.uint32)}
            arrays |= {f"{kind}.{name}": values for name, values in ({"keys": keys, "ranges": ranges} | extra).items()}
        return SealedIndex(arrays)

    def _fold(self) -> None:
        """Work out what was only kept until now."""
        if self._unfolded:
            self._fold_rows(pa.concat_tables(self._unfolded))
            self._unfolded, self._unfolded_rows = [], 0

    def _fold_rows(self, rows: pa.Table) -> None:
        seqs = rows["seq"].to_numpy()
        codes: dict[str, Codes] = {}
        names: dict[str, list[str]] = {}
        for name in KINDS:
            codes[name], names[name] = _encoded(rows[name])
        for kind in KINDS:
            places, is_named = self._places[kind], codes[kind] >= 0
            first, last = _spans(codes[kind][is_named], seqs[is_named], len(names[kind]))
            counts = np.bincount(codes[kind][is_named], minlength=len(names[kind]))
            places.widen(names[kind], first, last, counts)
        self._fold_pairs(seqs, codes, names)

    def _fold_pairs(self, seqs: Seqs, codes: Mapping[str, Codes], names: Mapping[str, list[str]]) -> None:
        is_of_job = np.array([name in JOB_TYPES for name in names["type"]], np.bool_)[codes["type"]]
        chosen = np.flatnonzero(is_of_job & (codes["job_id"] >= 0))
        jobs, executions = names["job_id"], [*names["execution_id"], None]
        pairs = codes["execution_id"][chosen] * np.int64(len(jobs)) + codes["job_id"][chosen]  # below 0 where there is none
        distinct, inverse, counts = np.unique(pairs, return_inverse=True, return_counts=True)
        first, last = _spans(inverse, seqs[chosen], len(distinct))
        low, high = _spans(inverse, codes["batch_id"][chosen], len(distinct))
        batches = np.array([*map(digest, names["batch_id"]), digest("")], np.uint64)
        named = [_pair(executions[pair // len(jobs)], jobs[pair % len(jobs)]) for pair in distinct.tolist()]
        self._pairs.widen(named, first, last, counts, np.where(low == high, batches[low], np.uint64(0)))


def _encoded(column: pa.ChunkedArray) -> tuple[Codes, list[str]]:
    """A number for each row, -1 where it has no value, and what the numbers stand for."""
    found = column.combine_chunks().dictionary_encode()
    return found.indices.fill_null(-1).to_numpy().astype(np.int64), found.dictionary.to_pylist()


def _spans(codes: Codes, values: Seqs, count: int) -> tuple[Seqs, Seqs]:
    """The least and the greatest value of each of ``count`` codes."""
    least, greatest = np.full(count, 2**62, np.int64), np.full(count, -(2**62), np.int64)
    np.minimum.at(least, codes, values)
    np.maximum.at(greatest, codes, values)
    return least, greatest


def _placed(keys: Numbers, wanted: Numbers) -> tuple[Seqs, Flags]:
    """Where each stands among sorted keys, and whether it does."""
    places = np.searchsorted(keys, wanted)
    is_there = places < len(keys)
    is_there[is_there] = keys[places[is_there]] == wanted[is_there]
    return places, is_there


def _found(places: Sequence[int] | Seqs, first: Seqs, last: Seqs, counts: Seqs) -> Found | None:
    """Where those with these numbers lie, all together."""
    if not len(places):
        return None
    return Found(int(first[places].min()), int(last[places].max()), int(counts[places].sum()))


class SealedIndex:
    """
    The index of a segment that is not written any more.

    Attributes:
        events: How many there were when it was made.
    """

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self._arrays = dict(arrays)
        self._first = int(arrays["about"][1])
        self.events = int(arrays["type.counts"].sum())

    @property
    def times(self) -> Range:
        """As `Index.times`."""
        first, last = self._arrays["times"]
        return Range(int(first), int(last))

    def find(self, kind: str, ids: Sequence[str]) -> Found | None:
        """As `Index.find`."""
        keys: Numbers = self._arrays[f"{kind}.keys"]
        wanted = np.unique(np.fromiter((digest(name) for name in ids), np.uint64, len(ids)))
        places, is_there = _placed(keys, wanted)
        places = places[is_there]
        ranges = self._arrays[f"{kind}.ranges"]
        found = _found(places, ranges[:, 0], ranges[:, 1], self._arrays[f"{kind}.counts"])
        return None if found is None else Found(self._first + found.first, self._first + found.last, found.events)

    def holds(self, events: EventIds) -> Flags:
        """As `Index.holds`."""
        return held(self._arrays, events)

    def pairs(self, digests: Numbers) -> Pairs:
        """As `Index.pairs`."""
        places, is_there = _placed(self._arrays["pair.keys"], digests)
        count = len(digests)
        found = Pairs(np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.uint64))
        places = places[is_there]
        ranges = self._arrays["pair.ranges"][places].astype(np.int64) + self._first
        found.first[is_there], found.last[is_there] = ranges[:, 0], ranges[:, 1]
        found.batches[is_there] = self._arrays["pair.batches"][places]
        return found

    def begins(self) -> Begins:
        """As `Index.begins`."""
        return Begins(self._arrays["pair.keys"], self._arrays["pair.ranges"][:, 0].astype(np.int64) + self._first)

    def save(self, path: Path) -> None:
        """Write it; it appears whole or not at all."""
        with whole(path) as file:
            np.savez(file, **self._arrays)

    @classmethod
    def read(cls, path: Path, segment: int, last: int) -> SealedIndex | None:
        """Read that of the segment that begins with ``segment`` and goes to ``last``; None where it cannot be used."""
        try:
            with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            version, first, end = (int(number) for number in arrays["about"])
            return cls(arrays) if (version, first) == (_VERSION, segment) and end >= last else None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
