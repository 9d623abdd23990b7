"""
What a server has taken and Redis has not: a file that is appended to and flushed, read from its front, and emptied.

A record is ``magic, CRC-32, length, number of events`` and the events as `Stored.packed` gives them. Where the CRC differs
the file ends: what is behind was being written when the power went, and was never acknowledged. How far it was sent is not
written down: event ids make sending again harmless.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections import deque
from pathlib import Path
from typing import NamedTuple

from playhead.recording.directory import sync
from playhead.recording.journal import Record
from playhead.recording.stored import Stored

_HEAD = struct.Struct("<4sIII")
_MAGIC = b"pho1"


class _Place(NamedTuple):
    offset: int
    length: int
    rows: int


class Outbox:
    """The file ``outbox`` of a recording; any thread."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        sync(path.parent)
        self._lock = threading.Lock()
        self._places: deque[_Place] = deque()
        self._size = 0
        self.events = 0
        for place in self._found():
            self._places.append(place)
            self.events += place.rows
            self._size = place.offset + place.length
        os.ftruncate(self._file, self._size)

    @property
    def is_empty(self) -> bool:
        """Whether everything was sent."""
        return not self._places

    def append(self, stored: Stored) -> None:
        """Keep events; they survive this process when this returns. Raises OSError, and nothing is kept."""
        text = stored.packed()
        whole = _HEAD.pack(_MAGIC, zlib.crc32(text), len(text), len(stored.news)) + text
        with self._lock:
            try:
                if os.pwrite(self._file, whole, self._size) != len(whole):
                    raise OSError("a write to the outbox was cut short")
                os.fdatasync(self._file)
            except OSError:
                os.ftruncate(self._file, self._size)
                raise
            self._places.append(_Place(self._size + _HEAD.size, len(text), len(stored.news)))
            self._size += len(whole)
            self.events += len(stored.news)

    def front(self, most: int) -> list[Stored]:
        """The oldest records, of so many events or one record."""
        found: list[Stored] = []
        with self._lock:
            count = 0
            for place in self._places:
                count += place.rows
                if found and count > most:
                    break
                found.append(Stored.of(Record(0, place.rows, os.pread(self._file, place.length, place.offset))))
        return found

    def drop(self, records: int) -> None:
        """So many records from the front are in the log."""
        with self._lock:
            for _ in range(records):
                self.events -= self._places.popleft().rows
            if not self._places and self._size:
                os.ftruncate(self._file, 0)
                self._size = 0

    def close(self) -> None:
        """Close the file; what is in it stays there."""
        os.close(self._file)

    def _found(self) -> list[_Place]:
        found, offset = [], 0
        while len(head := os.pread(self._file, _HEAD.size, offset)) == _HEAD.size:
            magic, crc, length, rows = _HEAD.unpack(head)
            text = os.pread(self._file, length, offset + _HEAD.size)
            if magic != _MAGIC or len(text) != length or zlib.crc32(text) != crc:
                break
            found.append(_Place(offset + _HEAD.size, length, rows))
            offset += _HEAD.size + length
        return found
