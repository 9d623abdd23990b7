"""
Where things lie in a segment that grows: the first and last seq of each, how many events it has, and its digest.

In arrays, with a number for each thing: as objects, each garbage collection would look at all of them, and hold up a commit
for tens of milliseconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from playhead.recording.identities import Numbers, Seqs

_BEGIN = 256


def digest(text: str) -> int:
    """64 bits of an id."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


class Places:
    """
    Things by their names, numbered as they come; two with one digest count as one. Of each, by its number:

    Attributes:
        digests: 64 bits of its name.
        first, last: Its first and last seq, both inclusive.
        counts: How many events it has.
        marks: What all of its events were marked with; 0 where that differs.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, int] = {}
        self._by_digest: dict[int, int] = {}
        self.digests, self.marks = np.zeros(_BEGIN, np.uint64), np.zeros(_BEGIN, np.uint64)
        self.first, self.last = np.full(_BEGIN, 2**62, np.int64), np.full(_BEGIN, -1, np.int64)
        self.counts = np.zeros(_BEGIN, np.int64)

    def __len__(self) -> int:
        return len(self._by_digest)

    def named(self, names: Iterable[str]) -> list[int]:
        """The numbers of those that are there, each once."""
        return list({number for name in names if (number := self._by_name.get(name)) is not None})

    def digested(self, digests: Numbers) -> Seqs:
        """The number of each, -1 for those that are not there."""
        get = self._by_digest.get
        return np.fromiter((get(one, -1) for one in digests.tolist()), np.int64, len(digests))

    def widen(self, names: Sequence[str], first: Seqs, last: Seqs, counts: Seqs, marks: Numbers | None = None) -> None:
        """Take in more events of each of these."""
        before = len(self)
        get = self._by_name.get
        places = [get(name, -1) for name in names]
        for at in [at for at, place in enumerate(places) if place < 0]:
            number = digest(names[at])
            places[at] = self._by_name[names[at]] = self._by_digest.setdefault(number, len(self))
            if len(self) > len(self.first):
                self._grow()
            self.digests[places[at]] = number
        where = np.array(places, np.int64)
        if marks is not None:
            self.marks[where[where >= before]] = marks[where >= before]
            self.marks[where[self.marks[where] != marks]] = 0
        np.minimum.at(self.first, where, first)
        np.maximum.at(self.last, where, last)
        np.add.at(self.counts, where, counts)

    def arrays(self) -> tuple[Numbers, Seqs, Seqs, Seqs, Numbers]:
        """The digests in ascending order, and the first, the last, the count and the mark of each."""
        order = np.argsort(self.digests[: len(self)])
        return self.digests[order], self.first[order], self.last[order], self.counts[order], self.marks[order]

    def _grow(self) -> None:
        more = len(self.first)
        self.digests = np.append(self.digests, np.zeros(more, np.uint64))
        self.marks = np.append(self.marks, np.zeros(more, np.uint64))
        self.first = np.append(self.first, np.full(more, 2**62, np.int64))
        self.last = np.append(self.last, np.full(more, -1, np.int64))
        self.counts = np.append(self.counts, np.zeros(more, np.int64))
