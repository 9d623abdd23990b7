"""
Keyframes of a segment: who was active at some of its positions, so that any position is a keyframe and a few events.

In memory while the segment grows or is new, else ``000000000000000001.states.arrow`` beside it: an Arrow file (zstd) with
one batch of `playhead.attempts.ATTEMPTS` a keyframe. It can be made again from the log at any time.

What a keyframe holds is enough to go on from exactly, also when the oldest segments are dropped: every attempt that has
not ended, those of pairs that several organisations speak of, and those that were told something in a later segment
than they ended in (without their end they would count as running).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from playhead.attempts import ATTEMPTS
from playhead.recording.directory import whole
from playhead.state import ACTIVE

_VERSION = 1
_EVERY = 16_384  # events between two, or
_EVENTS_A_ROW = 8  # so many for each row that one holds, whichever is more: keyframes are a small part of the log
_LEVEL = 12  # of zstd: a sixth smaller than the usual
_KEY = b"playhead.keyframes"


class Keyframes:
    """
    Positions and who was active at them.

    Attributes:
        positions: Seqs, ascending; a keyframe is what the events up to its position made.
        latest: The latest timestamp up to each, in microseconds since 1970; at least that.
        is_whole: Whether the segment is sealed and there are no more to come.
    """

    def __init__(self) -> None:
        self.positions: list[int] = []
        self.latest: list[int] = []
        self.is_whole = False
        self._rows: list[pa.Table] = []
        self._file: pa.ipc.RecordBatchFileReader | None = None

    def add(self, position: int, latest: int, rows: pa.Table) -> None:
        """Take the next one."""
        self._rows.append(rows.select(ATTEMPTS.names).cast(ATTEMPTS))
        self.latest.append(latest)
        self.positions.append(position)  # last: readers go by the positions

    def rows(self, place: int) -> pa.Table:
        """The attempts of a keyframe, by its place."""
        if self._file is not None:
            return pa.Table.from_batches([self._file.get_batch(place)])
        return self._rows[place]

    @property
    def next(self) -> int:
        """The position of the next one."""
        held: int = self.rows(len(self.positions) - 1).num_rows
        return self.positions[-1] + max(_EVERY, _EVENTS_A_ROW * held)

    def save(self, path: Path, segment: int) -> None:
        """Write them, whole or not at all; from then on they are read from there."""
        about = {"version": _VERSION, "segment": segment, "positions": self.positions, "latest": self.latest}
        schema = ATTEMPTS.with_metadata({_KEY: json.dumps(about).encode()})
        options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", _LEVEL), use_threads=False)
        with whole(path) as file, pa.ipc.new_file(file, schema, options=options) as writer:
            for rows in self._rows:
                arrays = [column.combine_chunks() for column in rows.columns]
                writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
        self._file, self._rows = pa.ipc.open_file(pa.memory_map(str(path))), []

    @classmethod
    def read(cls, path: Path, segment: int) -> Keyframes | None:
        """Those of the segment that begins with ``segment``; None where they are not there or cannot be used."""
        found = cls()
        try:
            found._file = pa.ipc.open_file(pa.memory_map(str(path)))
            about = json.loads((found._file.schema.metadata or {})[_KEY])
            found.positions, found.latest = about["positions"], about["latest"]
            is_ours = (about["version"], about["segment"]) == (_VERSION, segment)
        except (OSError, pa.ArrowException, KeyError, ValueError):
            return None
        found.is_whole = True
        return found if is_ours and len(found.positions) == found._file.num_record_batches else None


def to_keep(rows: pa.Table, firsts: list[int]) -> pa.Table:
    """Of the newest attempts at a position, those that a keyframe holds; ``firsts`` are the segments' first seqs."""
    if not rows.num_rows:
        return rows
    active = _flags(pc.is_in(rows["state"], pa.array(ACTIVE)))
    end = pc.fill_null(rows["end_seq"], 0).to_numpy()
    starts = np.array(firsts, np.int64)
    is_late = np.searchsorted(starts, end, "right") < np.searchsorted(starts, rows["last_seq"].to_numpy(), "right")
    return rows.filter(pa.array(_flags(rows["is_newest"]) & (active | _flags(rows["is_mixed"]) | is_late)))


def _flags(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    return np.asarray(column.to_numpy(zero_copy_only=False), bool)
