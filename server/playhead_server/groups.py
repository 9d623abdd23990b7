"""Readers who want the same: a group, what came for it lately, and what its readers are sent between two positions."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from operator import itemgetter
from typing import Any, Protocol, TypeVar

from playhead.events import Filter

CHUNK = 1_000
_CHUNK_BYTES = 512 * 1024  # many clients take a message of 1 MiB and no larger one
_MOST_PROVISIONAL = 10_000
_seq_of = itemgetter(0)
Encoded = tuple[int, bytes]  # the seq of an event and its wire form
Form = TypeVar("Form")


class Attached(Protocol):
    """A reader that is handed what comes."""

    cursor: int

    def fall(self) -> None:
        """Be handed no more."""


class Stretch:
    """
    What readers of one filter are sent for ``(after, to]``.

    Attributes:
        seqs, events: The events that match, in order: their seqs and wire forms.
        provisional: 0; else the number of this among what is told before it has seqs, and so moves nobody on.
    """

    __slots__ = ("_forms", "after", "events", "provisional", "seqs", "to")

    def __init__(self, after: int, to: int, matching: list[Encoded], *, provisional: int = 0) -> None:
        self.after, self.to, self.provisional = after, to, provisional
        self.seqs = [seq for seq, _ in matching]
        self.events = [encoded for _, encoded in matching]
        self._forms: dict[object, Any] = {}

    def form(self, key: object, build: Callable[[], Form]) -> Form:
        """What it is on some wire, built once for all who share it."""
        if key not in self._forms:
            self._forms[key] = build()
        found: Form = self._forms[key]
        return found


Push = Callable[[Stretch], bool]


def cut(after: int, to: int, matching: list[Encoded]) -> Stretch:
    """A stretch that fits a message which every client takes; the rest is the next one's."""
    size = 0
    for place, (_, encoded) in enumerate(matching):
        size += len(encoded) + 1
        if place and (size > _CHUNK_BYTES or place >= CHUNK):
            matching, to = matching[:place], matching[place - 1][0]
            break
    return Stretch(after, to, matching)


class Group:
    """
    The readers of one filter.

    Attributes:
        latest: The newest seq that matches, of all since the group began.
        told: Up to where those who are handed everything were.
    """

    def __init__(self, where: Filter, head: int) -> None:
        self.where = where
        self.members = 0
        self.latest = self.told = self._since = head
        self.attached: dict[Attached, Push] = {}
        self.bell = asyncio.Event()
        self.provisional: deque[Stretch] = deque()
        self._recent: list[Encoded] = []  # all that match after `_since`
        self._built: tuple[tuple[int, int], Stretch] | None = None

    def take(self, seq: int, encoded: bytes) -> None:
        """An event that matches."""
        self.latest = seq
        self._recent.append((seq, encoded))

    def foretell(self, stretch: Stretch) -> None:
        """Events that match and have no seq yet, for those who are not handed them; only so many are held."""
        self.provisional.append(stretch)
        while sum(len(one.events) for one in self.provisional) > _MOST_PROVISIONAL:
            self.provisional.popleft()

    def forget(self, before: int) -> None:
        """Let go of what the ring does not hold any more."""
        count = bisect_right(self._recent, before - 1, key=_seq_of)
        if count:
            self._since = max(self._since, self._recent[count - 1][0])
            del self._recent[:count]

    def lose(self, upto: int) -> None:
        """What matches up to a seq is not known: readers look for themselves."""
        self.latest = self._since = self.told = upto
        self._recent.clear()
        self._built = None
        for reader in list(self.attached):
            reader.fall()

    def knows(self, after: int) -> bool:
        """Whether it has all that matches after a position."""
        return after >= self._since

    def stretch(self, after: int, head: int) -> Stretch:
        """What matches after a position that it knows."""
        key = (after, self.latest)
        if self._built is None or self._built[0] != key:
            place = bisect_right(self._recent, after, key=_seq_of)
            self._built = key, cut(after, head, self._recent[place : place + CHUNK + 1])
        return self._built[1]

    def ring(self) -> None:
        """Wake those who wait."""
        self.bell.set()
        self.bell = asyncio.Event()
