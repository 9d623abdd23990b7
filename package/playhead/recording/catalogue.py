"""
The catalogue: which segments a recording has, so that one that is gone is noticed and one that was dropped stays gone::

    {"segments": [{"first": 1, "last": 250000}, {"first": 250001, "last": 500000, "missing": "its file is gone"},
                  {"first": 500001}],
     "checksums": {"000000000000000001-1.parquet": 3735928559}, "dropped": []}

``last`` is missing where nobody knows it, as of the segment that is written. ``checksums`` are CRC-32 of archives, which
have none of their own (DuckDB files have). ``dropped`` names those whose files may still be there because somebody read
them. Without the file, everything that is found counts. It is written before a new segment takes its first event.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from playhead.recording.directory import write_whole

LEAP = 1_000_000_000  # where the newest segment is lost, nobody knows how far it went: numbers go on behind that
GONE = "its file is gone"


class Missing(NamedTuple):
    """A range of seq whose segment is gone or cannot be read, and why; ``last`` is None where nobody knows it."""

    first: int
    last: int | None
    reason: str

    def __str__(self) -> str:
        upto = f"to {self.last:,}" if self.last is not None else "on"
        return f"events from {self.first:,} {upto}: {self.reason}"


class Catalogue:
    """``segments.json``, as it was read and as it is written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.ranges: dict[int, int | None] = {}  # first -> last, None where it is not known
        self.lost: dict[int, str] = {}  # first -> why it was missing when this was written
        self.checksums: dict[str, int] = {}
        self.dropped: set[int] = set()
        self.is_there = False
        try:
            self._written = path.read_text()
            found = json.loads(self._written)
            ranges = {int(one["first"]): one.get("last") for one in found["segments"]}
            lost = {int(one["first"]): str(one["missing"]) for one in found["segments"] if "missing" in one}
            checksums = {str(name): int(value) for name, value in found.get("checksums", {}).items()}
            dropped = {int(first) for first in found["dropped"]}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self._written = ""
            return
        self.ranges, self.lost, self.checksums, self.dropped, self.is_there = ranges, lost, checksums, dropped, True

    def write(self, ranges: Iterable[tuple[int, int | None]], missing: Iterable[Missing], dropped: Iterable[int]) -> None:
        """Write what there is; nothing where that is what it says."""
        missing = list(missing)
        self.lost = {gone.first: gone.reason for gone in missing}
        self.ranges = dict(sorted([*ranges, *((gone.first, gone.last) for gone in missing)]))
        self.dropped = set(dropped)
        segments: list[dict[str, Any]] = []
        for first, last in self.ranges.items():
            known = {} if last is None else {"last": last}
            segments.append({"first": first} | known | ({"missing": self.lost[first]} if first in self.lost else {}))
        text = json.dumps({"segments": segments, "checksums": dict(self.checksums), "dropped": sorted(self.dropped)}) + "\n"
        if text != self._written:
            write_whole(self._path, text)
            self._written, self.is_there = text, True

    def last_of(self, first: int, there: Collection[int]) -> int | None:
        """The last seq of a segment that cannot be read: as it says, else up to the next one."""
        last = self.ranges.get(first)
        following = min((one for one in there if one > first), default=None)
        if last is None and following is not None and following - first < LEAP:
            last = following - 1
        return last

    def missing(self, there: Mapping[int, Path]) -> list[Missing]:
        """Those it names that are not there."""
        gone = sorted(self.ranges.keys() - there.keys() - self.dropped)
        return [Missing(first, self.last_of(first, there), self.lost.get(first, GONE)) for first in gone]
