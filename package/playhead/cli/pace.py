"""
The pace of a replay: when each event is due, what time it then bears, what goes together. Nothing here reads a clock.

An event is due at the moment, since the first one, that its timestamp gives, divided by the speed. One whose timestamp
lies before that of an earlier event waits for nothing; it bears the time that it has among the others all the same, so
that durations are as they were. A pause that is cut short is cut out of the times too::

    timestamp     0 s ───── 60 s ─────────────────────────── 660 s ── 720 s
    speed 60      0 s ──────  1 s ─────────────────────────── 11 s ──── 12 s
    skip idle 2   0 s ──────  1 s ──────── 3 s ──── 4 s
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from playhead.events import Event

TICK_S = 0.005  # no event is late by more than that, and what is due within it goes together
_GROUP = 1000
_CUTS = 1000  # that are remembered, for timestamps that run backwards


class Place(NamedTuple):
    """When an event is due, and the time that it bears; seconds since the first event."""

    due_s: float
    bears_s: float


class _Cut(NamedTuple):
    """A pause cut short: where it ends, in seconds of a replay without cuts, and what all of them so far took away."""

    end_s: float
    total_s: float


class Pace:
    """
    Where in a replay each event of a recording belongs.

    Args:
        speed: How many times faster than it happened, > 0.
        skip_idle_s: No pause is longer than that, > 0; None for all of them as they are.
    """

    def __init__(self, speed: float, skip_idle_s: float | None = None) -> None:
        self._speed = speed
        self._most_s = math.inf if skip_idle_s is None else skip_idle_s
        self._first: datetime | None = None
        self._front_s = self._due_s = 0.0
        self._cuts = [_Cut(-math.inf, 0.0)]

    def place(self, timestamp: datetime) -> Place:
        """The place of the next event in log order; ``due_s`` never falls."""
        if self._first is None:
            self._first = timestamp
        at_s = (timestamp - self._first).total_seconds() / self._speed
        if at_s < self._front_s:
            return Place(self._due_s, self._shortened(at_s))
        if at_s - self._front_s > self._most_s:
            self._cut(at_s, at_s - self._front_s - self._most_s)
        self._front_s, self._due_s = at_s, at_s - self._cuts[-1].total_s
        return Place(self._due_s, self._due_s)

    def _cut(self, end_s: float, by_s: float) -> None:
        self._cuts.append(_Cut(end_s, self._cuts[-1].total_s + by_s))
        if len(self._cuts) > _CUTS:
            oldest = self._cuts[_CUTS // 2]
            self._cuts[: _CUTS // 2 + 1] = [_Cut(-math.inf, oldest.total_s)]

    def _shortened(self, at_s: float) -> float:
        """A moment that is past, with the cuts before it; one inside a cut is no later than its end."""
        after = bisect_right(self._cuts, at_s, key=lambda cut: cut.end_s)
        bears_s = at_s - self._cuts[after - 1].total_s
        if after == len(self._cuts):
            return bears_s
        return min(bears_s, self._cuts[after].end_s - self._cuts[after].total_s)


def due(
    pages: Iterable[list[Event]], pace: Pace, elapsed: Callable[[], float], wait: Callable[[float], bool]
) -> Iterator[list[tuple[Event, float]]]:
    """
    Events with the time that each bears, in log order, grouped by what is due together.

    Args:
        pages: Events in log order. The next page is asked for when all of the one before was given on, so that what is
            due does not wait until it is read.
        pace: A fresh one.
        elapsed: Seconds since the start.
        wait: Waits so many seconds or less; True to end the replay.
    """
    for page in pages:
        group: list[tuple[Event, float]] = []
        for event in page:
            due_s, bears_s = pace.place(event.timestamp)
            if due_s > elapsed():
                if group:
                    yield group
                    group = []
                until_s = max(due_s, elapsed() + TICK_S)
                while (left_s := until_s - elapsed()) > 0:
                    if wait(left_s):
                        return
            group.append((event, bears_s))
            if len(group) == _GROUP:
                yield group
                group = []
        if group:
            yield group
