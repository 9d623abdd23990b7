"""
The catalogue: which segments a recording has, so that one that is gone is noticed and one that was dropped stays gone::

    {"segments": [{"first": 1, "last": 250000}, {"first": 250001}], "dropped": []}

``last`` is missing for the segment that is written. ``dropped`` names those whose files may still be there because
somebody read them. Without the file, everything that is found counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from playhead.recording.directory import write_whole


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
        self.dropped: set[int] = set()
        try:
            found = json.loads(path.read_text())
            self.ranges = {int(one["first"]): one.get("last") for one in found["segments"]}
            self.dropped = {int(first) for first in found["dropped"]}
        except (OSError, ValueError, KeyError, TypeError):
            self.ranges, self.dropped = {}, set()

    def write(self, ranges: Iterable[tuple[int, int | None]], dropped: Iterable[int]) -> None:
        """Write what there is; nothing where that is what it says."""
        now = dict(sorted(ranges)), set(dropped)
        if now == (self.ranges, self.dropped) and self._path.exists():
            return
        self.ranges, self.dropped = now
        segments = [{"first": first} if last is None else {"first": first, "last": last} for first, last in now[0].items()]
        write_whole(self._path, json.dumps({"segments": segments, "dropped": sorted(self.dropped)}) + "\n")

    def missing(self, there: set[int]) -> list[Missing]:
        """Those it names that are not ``there``."""
        gone = sorted(self.ranges.keys() - there - self.dropped)
        return [Missing(first, self.ranges[first], "its file is gone") for first in gone]
