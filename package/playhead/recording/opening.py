"""
Segments as they are found when a recording is opened: what can be read is, and what cannot is said.

A file that a crash left half made is removed; one that should be there and is not, that cannot be read or that ends
before it should, is `Missing`, and numbers go on behind all that was ever given.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from playhead.events import Cursor
from playhead.recording import archive, damage, files
from playhead.recording.catalogue import LEAP, Catalogue, Missing
from playhead.recording.directory import Directory
from playhead.recording.index import SealedIndex
from playhead.recording.segment import Segment


class Opening:
    """
    How segments' files become segments.

    Attributes:
        missing: What should be there and is not, or cannot be read; found by `all`.
    """

    def __init__(self, db: files.Database, folder: Path, catalogue: Catalogue, *, is_read_only: bool) -> None:
        self._db, self._folder, self._catalogue, self._is_read_only = db, folder, catalogue, is_read_only
        self.missing: list[Missing] = []

    def all(self, directory: Directory) -> list[Segment]:
        """Every segment of a directory that can be read, oldest first; the last one can be appended to."""
        catalogue, found = self._catalogue, files.find(directory)
        if not self._is_read_only:
            files.clear(directory, found, catalogue.dropped)
            if not found and not catalogue.is_there:
                catalogue.write([], [], [])  # before there is a file, so that one that it does not name never held anything
        there = {first: file for first, file in found.items() if first not in catalogue.dropped}
        opened: list[Segment] = []
        for first, file in sorted(there.items()):
            try:
                opened.append(self._known(first, file, is_newest=first == max(there)))
            except (duckdb.Error, OSError, ValueError) as error:
                if damage.is_passing(error):
                    raise
                if catalogue.is_there and first > max(catalogue.ranges, default=0):
                    there.pop(first)  # killed while it was made
                    if not self._is_read_only:
                        files.forget(self._folder, first, file)
                else:
                    reason = damage.unreadable(file, error)
                    self.missing.append(Missing(first, catalogue.last_of(first, there), reason))
        named = {gone.first for gone in self.missing}
        self.missing = sorted([*self.missing, *(gone for gone in catalogue.missing(there) if gone.first not in named)])
        ends = [gone.first + LEAP if gone.last is None else gone.last + 1 for gone in self.missing]
        after = max([1, *(one.last + 1 for one in opened), *ends])
        if not opened or opened[-1].is_rewritten or opened[-1].last + 1 < after:
            opened.append(self.file(after))
        for segment in opened[:-1]:
            segment.index = SealedIndex.read(self._folder / f"{segment.first:018d}.index.npz", segment.first, segment.last)
        if not self._is_read_only:
            self._forget_states({gone.first for gone in self.missing} ^ catalogue.lost.keys())
        return opened

    def file(self, first: int, file: Path | None = None) -> Segment:
        """A segment by its file, which is made where there is none."""
        if file is not None and file.suffix == ".parquet":
            segment = Segment(first, file, archive.relation(self._db, file))
        else:
            file = file or (None if self._is_read_only else self._folder / f"{first:018d}.duckdb")
            is_read_only = self._is_read_only or files.is_rewritten(file)
            table = files.attach(self._db, files.database(first, file), file, is_read_only=is_read_only)
            segment = Segment(first, file, table)
        self._measure(segment)
        return segment

    def export(self, file: Path) -> tuple[Segment, Cursor | None]:
        """An exported file, which is one segment that nobody adds to, and the position that it says it was read at."""
        segment = self.file(1, file)
        cursor = archive.cursor_of(file)
        segment.last = max(segment.last, cursor.seq if cursor is not None else 0)
        return segment, cursor

    def flaw(self, segment: Segment) -> str | None:
        """What is wrong with a segment's file, all of it read."""
        expected = self._catalogue.checksums.get(segment.file.name) if segment.file is not None else None
        return damage.flaw(self._db, segment.table, segment.file, expected)

    def _known(self, first: int, file: Path, *, is_newest: bool) -> Segment:
        """A segment that was there before, as far as it can be read; what is missing at its end is."""
        last = self._catalogue.ranges.get(first)
        if first in self._catalogue.ranges and not file.stat().st_size:
            raise ValueError("it is empty")  # DuckDB would make a new one of it
        segment = self.file(first, file)
        if segment.is_archived:
            segment.last = max(segment.last, last or 0)  # the newest of them may be deleted
        elif last is not None and segment.last < last:
            self.missing.append(Missing(segment.last + 1, last, f"{file.name} ends before"))
        if (is_newest or first in self._catalogue.lost) and (reason := self.flaw(segment)) is not None:
            raise ValueError(reason)
        return segment

    def _measure(self, segment: Segment) -> None:
        """Read a segment's rows and range from its file."""
        row = self._db.cursor().execute(f"SELECT count(*), min(seq), max(seq) FROM {segment.table}").fetchall()[0]
        segment.rows = row[0]
        segment.oldest = row[1] if row[1] is not None else segment.first
        segment.last = max(segment.last, row[2] if row[2] is not None else segment.first - 1)

    def _forget_states(self, changed: set[int]) -> None:
        """Keyframes go on from what is before them: they are made again where that is missing now, or is not any more."""
        for file in self._folder.glob("*.states.arrow") if changed else ():
            if int(file.name.partition(".")[0]) >= min(changed):
                file.unlink(missing_ok=True)
