"""
Where a segment holds what: the range of seq of each execution, batch and job, the span of its timestamps, and which
event ids are in it. So a question reads what it needs and no more, and a second publication is noticed.

An index only ever narrows a question: a range may be too wide (deleted rows, two ids with one digest) and is never too
narrow. It can be made again from the segment at any time. A sealed one is a file of plain arrays beside its segment,
``000000000000000001.index.npz``: sorted 64-bit digests with the first and last seq of each, and those of the event ids.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import duckdb
import numpy as np
import numpy.typing as npt

from playhead.columns import micros
from playhead.events import Event

KINDS = ("execution_id", "batch_id", "job_id")
_VERSION = 1
_MASK = 2**64 - 1
Numbers = npt.NDArray[np.uint64]


class Range(NamedTuple):
    """From one number to another, both inclusive."""

    first: int
    last: int


class Index(Protocol):
    """What is known of where things are in one segment."""

    @property
    def times(self) -> Range:
        """The earliest and the latest timestamp, in microseconds since 1970."""

    def find(self, kind: str, ids: Sequence[str]) -> Range | None:
        """Where events of any of these ids lie; None where there are none."""

    def holds(self, event_digests: Numbers) -> npt.NDArray[np.bool_]:
        """Which of these events may be here; all that are here are among them."""


def event_digests(identities: Iterable[str]) -> Numbers:
    """64 bits of each UUID in its usual form: its halves folded, as `EVENT_DIGESTS` does in SQL."""
    numbers = [int(identity.replace("-", ""), 16) for identity in identities]
    return np.fromiter(((number >> 64) ^ (number & _MASK) for number in numbers), np.uint64, len(numbers))


# of an events table, the same in SQL
EVENT_DIGESTS = (
    "SELECT (n >> 64)::UBIGINT AS high, (n & 18446744073709551615::UHUGEINT)::UBIGINT AS low "
    "FROM (SELECT ('0x' || replace(id::VARCHAR, '-', ''))::UHUGEINT AS n FROM {table})"
)


def digest(text: str) -> int:
    """64 bits of an id."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


class LiveIndex:
    """The index of the segment that is appended to; one thread adds, any may look."""

    def __init__(self) -> None:
        self._ranges: dict[str, dict[str, list[int]]] = {kind: {} for kind in KINDS}
        self._first_time, self._last_time = 2**62, -(2**62)
        self._event_ids: set[int] = set()
        self.last = 0  # the newest seq that was added

    @property
    def times(self) -> Range:
        """As `Index.times`."""
        return Range(self._first_time, self._last_time)

    def add(self, events: Sequence[Event]) -> None:
        """Take events in order of seq; to be called before their seqs can be asked for."""
        for kind in KINDS:
            ranges, name_of = self._ranges[kind], attrgetter(kind)
            for event in events:
                name = name_of(event)
                if name is not None:
                    found = ranges.get(name)
                    if found is None:
                        ranges[name] = [event.seq, event.seq]
                    else:
                        found[1] = event.seq
        self._event_ids.update(event_digests(event.id for event in events).tolist())
        moments = [event.timestamp for event in events]
        self._first_time = min(self._first_time, micros(min(moments)))
        self._last_time = max(self._last_time, micros(max(moments)))
        self.last = events[-1].seq

    @classmethod
    def of(cls, db: duckdb.DuckDBPyConnection, table: str) -> LiveIndex:
        """Of a segment as it is on disk."""
        made = cls()
        for kind in KINDS:
            rows = db.execute(
                f"SELECT {kind}, min(seq), max(seq) FROM {table} WHERE {kind} IS NOT NULL GROUP BY {kind}"
            ).fetchall()
            made._ranges[kind] = {name: [first, last] for name, first, last in rows}
        times = db.execute(f"SELECT min(epoch_us(timestamp)), max(epoch_us(timestamp)), max(seq) FROM {table}").fetchall()[0]
        if times[0] is not None:
            made._first_time, made._last_time, made.last = times
        halves = db.execute(EVENT_DIGESTS.format(table=table)).fetchnumpy()
        digests = np.asarray(halves["high"], np.uint64) ^ np.asarray(halves["low"], np.uint64)
        made._event_ids = set(digests.tolist())
        return made

    def find(self, kind: str, ids: Sequence[str]) -> Range | None:
        """As `Index.find`."""
        get = self._ranges[kind].get
        found = [one for name in ids if (one := get(name)) is not None]
        return Range(min(one[0] for one in found), max(one[1] for one in found)) if found else None

    def holds(self, event_digests: Numbers) -> npt.NDArray[np.bool_]:
        """As `Index.holds`."""
        seen = self._event_ids
        return np.fromiter((one in seen for one in event_digests.tolist()), np.bool_, len(event_digests))

    def seal(self, segment: int) -> SealedIndex:
        """The same as arrays, for the segment that begins with this seq."""
        seen = np.fromiter(self._event_ids, np.uint64, len(self._event_ids))
        seen.sort()
        arrays: dict[str, Any] = {
            "about": np.array([_VERSION, segment, self.last], np.int64), "times": np.array(self.times, np.int64),
            "event_ids": seen,
        }  # fmt: skip
        for kind in KINDS:
            ranges = self._ranges[kind]
            keys = np.fromiter((digest(name) for name in ranges), np.uint64, len(ranges))
            bounds = np.array([*ranges.values()], np.int64).reshape(len(ranges), 2)
            order = np.argsort(keys)
            arrays |= {f"{kind}.keys": keys[order], f"{kind}.bounds": bounds[order]}
        return SealedIndex(arrays)


class SealedIndex:
    """The index of a segment that is not written any more."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self._arrays = dict(arrays)

    @property
    def times(self) -> Range:
        """As `Index.times`."""
        first, last = self._arrays["times"]
        return Range(int(first), int(last))

    def find(self, kind: str, ids: Sequence[str]) -> Range | None:
        """As `Index.find`."""
        keys: Numbers = self._arrays[f"{kind}.keys"]
        if not len(keys):
            return None
        wanted = np.fromiter((digest(name) for name in ids), np.uint64, len(ids))
        left = np.searchsorted(keys, wanted, side="left")
        right = np.searchsorted(keys, wanted, side="right")  # two ids with one digest stand side by side
        hits = left < right
        if not hits.any():
            return None
        bounds = self._arrays[f"{kind}.bounds"]
        places = np.concatenate([np.arange(a, b) for a, b in zip(left[hits], right[hits], strict=True)])
        return Range(int(bounds[places, 0].min()), int(bounds[places, 1].max()))

    def holds(self, event_digests: Numbers) -> npt.NDArray[np.bool_]:
        """As `Index.holds`."""
        seen: Numbers = self._arrays["event_ids"]
        if not len(seen):
            return np.zeros(len(event_digests), np.bool_)
        found: npt.NDArray[np.bool_] = seen[np.minimum(np.searchsorted(seen, event_digests), len(seen) - 1)] == event_digests
        return found

    def save(self, path: Path) -> None:
        """Write it; it appears whole or not at all."""
        draft = path.with_suffix(".tmp")
        with draft.open("wb") as file:
            np.savez(file, **self._arrays)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)

    @classmethod
    def read(cls, path: Path, segment: int, last: int) -> SealedIndex | None:
        """Read that of the segment that begins with ``segment`` and goes to ``last``; None where it cannot be used."""
        try:
            with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            version, first, end = (int(number) for number in arrays["about"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return cls(arrays) if (version, first) == (_VERSION, segment) and end >= last else None
