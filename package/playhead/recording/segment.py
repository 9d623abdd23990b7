"""One segment of a recording: a range of seq, where its events are, and what is known of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from playhead.recording import files

if TYPE_CHECKING:
    from playhead.recording.index import Index
    from playhead.recording.keyframes import Keyframes


class Segment:
    """
    A range of seq and where its events are.

    Attributes:
        first, last: The range it was given.
        oldest, rows: The oldest seq and the number of events that are left.
        file: Its DuckDB file, or its Parquet file when it is archived; None in memory.
        written: SQL of the events in its file.
        table: SQL of all its events, which are more where some could not be written (tail.py).
        index: Where it holds what; None where it is not made yet: everything may be anywhere in it.
        states: Who was active when; None where it is not made yet.
        is_checked: Whether its file was compared with its checksum.
        flaw: What was found wrong with it while events are appended to it.
    """

    def __init__(self, first: int, file: Path | None, table: str) -> None:
        self.first, self.file = first, file
        self.table = self.written = table
        self.last = first - 1
        self.oldest = first
        self.rows = 0
        self.readers = 0
        self.is_dropped = self.is_lost = self.is_checked = False
        self.flaw: str | None = None
        self.index: Index | None = None
        self.states: Keyframes | None = None

    @property
    def is_rewritten(self) -> bool:
        """Whether it is packed or archived: never written again, and not in order of seq where it is packed."""
        return files.is_rewritten(self.file)

    @property
    def is_archived(self) -> bool:
        """Whether it is a Parquet file."""
        return self.file is not None and self.file.suffix == ".parquet"
