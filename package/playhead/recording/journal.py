"""
The journal: what was stored last, written by one short write and made durable by one flush.

Two files of 4 MiB beside `recording.json`, written over again and again and in turn, so that a flush has nothing to do but
to bring a few blocks to the disk: neither does a file grow nor does one go. While the events of one are put into the
newest segment (`tail.py`), the other takes those that come. They go when the recording is closed.

A record is ``magic, CRC-32, length, number of events, first seq`` and its text; the CRC is of all behind it and of the
epoch. Records of a file follow each other as their events do. Where one does not, or its CRC differs, the file ends: what
is behind is older, or was being written when the power went and never acknowledged.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from playhead.recording.directory import sync

NAMES = ("journal.0", "journal.1")
SIZE = 4 * 2**20
_PIECE = 2**20
_HEAD = struct.Struct("<4sIIIq")
_MAGIC = b"phj1"
_CHECKED = 8  # where what the CRC is of begins
_log = logging.getLogger("playhead.recording")


class Record(NamedTuple):
    """Some events as they were written: the first one's seq, how many they are, their text."""

    first: int
    rows: int
    text: bytes

    @property
    def last(self) -> int:
        """The last one's seq."""
        return self.first + self.rows - 1


class Journal:
    """The two files of a recording; made when the first record is written. One thread at a time."""

    def __init__(self, folder: Path, epoch: str) -> None:
        self._paths = [folder / name for name in NAMES]
        self._seed = zlib.crc32(epoch.encode())
        self._handles: list[int] = []
        self._active, self._offset = 0, 0
        self._is_other_needed = False

    @property
    def is_open(self) -> bool:
        """Whether a record was written since it was opened or closed."""
        return bool(self._handles)

    @property
    def other(self) -> int:
        """The number of the file that is not written to."""
        return 1 - self._active

    def read(self, after: int) -> list[Record]:
        """What the files hold behind a seq, in order; until `filed` says so, nothing of it is written over."""
        older, newer = sorted((list(self._records(path)) for path in self._paths), key=lambda found: found[:1])
        if newer:  # a record that could not be flushed was written again, in the other file
            older = [one for one in older if one.first < newer[0].first]
        found = [one for one in [*older, *newer] if one.first > after]
        if found:
            self._offset, self._is_other_needed = SIZE, True
        return found

    def write(self, records: Sequence[Record]) -> bool:
        """
        Make records durable, all or none; False where there is no room for them.

        Raises:
            OSError: the disk refused them.
        """
        size = sum(_HEAD.size + len(record.text) for record in records)
        if self._offset + size > SIZE or not (self._handles or self._make()):
            return False
        handle = self._handles[self._active]
        try:
            if os.pwrite(handle, b"".join(map(self._whole, records)), self._offset) != size:
                raise OSError("a write to the journal was cut short")
            os.fdatasync(handle)
        except OSError:  # it may be there all the same, and must not come back
            with contextlib.suppress(OSError):
                os.pwrite(handle, bytes(_HEAD.size), self._offset)
            raise
        self._offset += size
        return True

    def turn(self) -> None:
        """Go on in the other file where that is not needed any more: what is in this one is being filed."""
        if self._offset and not self._is_other_needed:
            self.swap()
            self._is_other_needed = True

    def swap(self) -> None:
        """Go on in the other file, from its start."""
        self._active, self._offset = self.other, 0

    def wipe_other(self) -> None:
        """Leave nothing of what the other file holds; others may write meanwhile."""
        for offset in range(0, SIZE, _PIECE):
            os.pwrite(self._handles[self.other], bytes(_PIECE), offset)
        os.fdatasync(self._handles[self.other])

    def filed(self, *, is_all: bool) -> None:
        """All that was written before `turn` is in a segment, or all that was written at all."""
        self._is_other_needed = False
        if is_all:
            self._offset = 0

    def keep(self, first: int, last: int) -> str:
        """Put aside the files that hold events of a range, whose segment is lost; their names."""
        kept = [path for path in self._paths if any(first <= one.last <= last for one in self._records(path))]
        return " and ".join(path.rename(path.with_name(f"{path.name}.{first}.kept")).name for path in kept)

    def close(self, *, is_needed: bool) -> None:
        """Remove the files, unless they are needed; the next record makes them again."""
        for handle in self._handles:
            os.close(handle)
        self._handles, self._offset = [], 0
        if not is_needed:
            for path in self._paths:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)

    def reseed(self, epoch: str) -> None:
        """Be another log's from now on; only while nothing is in it."""
        assert not self._handles
        self._seed = zlib.crc32(epoch.encode())

    def _whole(self, record: Record) -> bytes:
        checked = struct.pack("<IIq", len(record.text), record.rows, record.first) + record.text
        return _MAGIC + struct.pack("<I", zlib.crc32(checked, self._seed)) + checked

    def _make(self) -> bool:
        """Open the files at their full length; False where the disk has no room for them."""
        try:
            for path in self._paths:
                handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                self._handles.append(handle)
                os.posix_fallocate(handle, 0, SIZE)
                os.fsync(handle)
            sync(self._paths[0].parent)
        except OSError as error:
            _log.debug("no journal: %s", error)
            self.close(is_needed=False)
        return bool(self._handles)

    def _records(self, path: Path) -> Iterator[Record]:
        """The records of a file, as far as they follow each other."""
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return
        offset, expected = 0, None
        while offset + _HEAD.size <= len(text):
            magic, crc, length, count, first = _HEAD.unpack_from(text, offset)
            end = offset + _HEAD.size + length
            if magic != _MAGIC or end > len(text) or expected not in (None, first):
                return
            if zlib.crc32(memoryview(text)[offset + _CHECKED : end], self._seed) != crc:
                return
            yield Record(first, count, text[offset + _HEAD.size : end])
            offset, expected = end, first + count
