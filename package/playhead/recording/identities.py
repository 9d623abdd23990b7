"""
Which event ids are in a segment, so that a second publication is noticed.

While it is written that is a set. Of a sealed one 5 bytes an event are left: 40 bits of each id, sorted, in a high and a
low part (``events.high``, ``events.low``). One id in some millions that is not there is taken for one that is; then the
segment itself is asked. What spares most of the looking is when ids were made (``events.made``): a UUIDv7 begins with the
time, and new ones are later than all that a sealed segment holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.uint64]
Seqs = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
# of an events table: the two halves of each id
_HALVES = (
    "SELECT (n >> 64)::UBIGINT AS high, (n & 18446744073709551615::UHUGEINT)::UBIGINT AS low "
    "FROM (SELECT ('0x' || replace(id::VARCHAR, '-', ''))::UHUGEINT AS n FROM {table})"
)


class EventIds:
    """
    The ids of some events.

    Attributes:
        digests: 64 bits of each: its halves folded.
        made: The milliseconds since 1970 when a UUIDv7 was made; -1 for every other UUID.
        first, last: The least and the greatest of these.
    """

    __slots__ = ("digests", "first", "last", "made")

    def __init__(self, digests: Numbers, made: Seqs) -> None:
        self.digests, self.made = digests, made
        self.first, self.last = (int(made.min()), int(made.max())) if len(made) else (2**62, -(2**62))

    @classmethod
    def of_halves(cls, high: Numbers, low: Numbers) -> EventIds:
        """Of UUIDs as two numbers of 64 bits."""
        is_timed = (high >> np.uint64(12)) & np.uint64(15) == 7  # RFC 9562, section 5.7
        return cls(high ^ low, np.where(is_timed, (high >> np.uint64(16)).astype(np.int64), np.int64(-1)))

    @classmethod
    def of(cls, identities: bytes) -> EventIds:
        """Of what `playhead.columns.id_bytes` makes."""
        halves = np.frombuffer(identities, ">u8").astype(np.uint64) if identities else np.empty(0, np.uint64)
        return cls.of_halves(halves[0::2], halves[1::2])

    @classmethod
    def stored(cls, db: duckdb.DuckDBPyConnection, table: str) -> EventIds:
        """Of every row of an events table."""
        halves = db.execute(_HALVES.format(table=table)).fetchnumpy()
        return cls.of_halves(np.asarray(halves["high"], np.uint64), np.asarray(halves["low"], np.uint64))

    def take(self, chosen: npt.NDArray[Any]) -> EventIds:
        """Those at some places."""
        return EventIds(self.digests[chosen], self.made[chosen])


class LiveIds:
    """Those of the segment that is appended to."""

    def __init__(self) -> None:
        self._digests: set[int] = set()
        self._added: list[Numbers] = []
        self._first, self._last = 2**62, -(2**62)

    def add(self, events: EventIds) -> None:
        """Have these too."""
        self._digests.update(events.digests.tolist())
        self._added.append(events.digests)
        self._first, self._last = min(self._first, events.first), max(self._last, events.last)

    def holds(self, events: EventIds) -> Flags:
        """Which of them are here."""
        asked = events.digests.tolist()
        if self._digests.isdisjoint(asked):
            return np.zeros(len(asked), np.bool_)
        return np.fromiter((one in self._digests for one in asked), np.bool_, len(asked))

    def arrays(self) -> dict[str, Any]:
        """What a sealed segment keeps of them."""
        spread = _spread(np.concatenate([np.empty(0, np.uint64), *self._added]))
        spread.sort()
        high, low = _parts(spread)
        return {"events.made": np.array([self._first, self._last], np.int64), "events.high": high, "events.low": low}


def held(arrays: Mapping[str, Any], events: EventIds) -> Flags:
    """Which of them may be in a sealed segment with these arrays."""
    found = np.zeros(len(events.digests), np.bool_)
    first, last = arrays["events.made"].tolist()
    if events.first > last or events.last < first:
        return found
    chosen = np.flatnonzero((events.made >= first) & (events.made <= last))
    high, low = _parts(_spread(events.digests[chosen]))
    seen_high, seen_low = arrays["events.high"], arrays["events.low"]
    places = np.searchsorted(seen_high, high)
    left = np.flatnonzero(places < len(seen_high))
    while len(left := left[seen_high[places[left]] == high[left]]):
        found[chosen[left]] |= seen_low[places[left]] == low[left]
        places[left] += 1  # the next may have the same high part
        left = left[places[left] < len(seen_high)]
    return found


def _spread(digests: Numbers) -> Numbers:
    """The same spread evenly, whatever the ids are (multiplicative hashing; Knuth, TAOCP 6.4)."""
    return digests * np.uint64(0x9E3779B97F4A7C15)


def _parts(spread: Numbers) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8]]:
    """The upper 40 bits of each."""
    return (spread >> np.uint64(32)).astype(np.uint32), (spread >> np.uint64(24)).astype(np.uint8)
