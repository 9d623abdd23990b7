"""
Which event ids are in the log already, exactly and in 8 bytes an event.

A sorted array of 64-bit digests for each sealed stretch and a set for the newest; a digest that is found is only a
suspicion, which the writer checks against the log itself.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_MASK = 2**64 - 1
_LIMIT = 250_000


def digest(identity: str) -> int:
    """64 bits of a UUID in its usual form: its halves folded."""
    number = int(identity.replace("-", ""), 16)
    return (number >> 64) ^ (number & _MASK)


class SeenIds:
    """The digests of all ids held."""

    def __init__(self) -> None:
        self._sorted: list[npt.NDArray[np.uint64]] = []
        self._recent: set[int] = set()

    def load_halves(self, high: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64]) -> None:
        """Take the ids of a segment as the halves of their 128 bits."""
        found = high ^ low
        found.sort()
        self._sorted.append(found)

    def add(self, identity: str) -> None:
        """Remember an id that was stored."""
        self._recent.add(digest(identity))
        if len(self._recent) >= _LIMIT:
            self._sorted.append(np.sort(np.fromiter(self._recent, dtype=np.uint64, count=len(self._recent))))
            self._recent = set()

    def suspects(self, ids: list[str]) -> list[str]:
        """Those of ``ids`` that may be in the log; all that are in it are among them."""
        if not ids:
            return []
        keys = [digest(identity) for identity in ids]
        maybe = np.array([key in self._recent for key in keys], dtype=bool)
        wanted = np.array(keys, dtype=np.uint64)
        for stretch in self._sorted:
            if len(stretch):
                places = np.searchsorted(stretch, wanted)
                maybe |= stretch[np.minimum(places, len(stretch) - 1)] == wanted
        return [identity for identity, hit in zip(ids, maybe, strict=True) if hit]
