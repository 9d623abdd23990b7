"""
The files of segments: DuckDB files attached to one in-memory DuckDB as ``s<first>``, and Parquet files.

A checkpoint of the file being written would block its commits for its whole length, so DuckDB never makes one by itself:
the write-ahead log holds the events just as durably until the segment is sealed and packed (`packed.py`). What is written
anew, packed or archived, has a number behind its name, and the highest one counts, archives before DuckDB files.
"""

from __future__ import annotations

import ctypes
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from playhead.columns import TABLE
from playhead.errors import RecordingClosed
from playhead.recording.directory import Directory, sync
from playhead.recording.pace import remove

_SETTINGS = (
    "SET wal_autocheckpoint = '100GB'",
    "SET auto_checkpoint_skip_wal_threshold = 1000000000000",
    "SET enable_progress_bar = false",
    "PRAGMA disable_checkpoint_on_shutdown",  # a forked child that ends must not write to its parent's files
)
ROW_GROUP = 65_536  # half of what DuckDB makes by itself: a question skips more
_STORAGE = "v1.2.0"  # its FSST lets a question decode the rows it wants; the later DICT_FSST decodes whole vectors


class Database:
    """An in-memory DuckDB for the segments of a recording to be attached to; any thread has a cursor of its own."""

    def __init__(self, path: Path, temporary: Path | None, threads: int = 2) -> None:
        self._path, self._is_closed = path, False
        self._lock = threading.Lock()  # DuckDB refuses to be closed while it makes a cursor
        self._connection = duckdb.connect(config={"temp_directory": str(temporary)} if temporary is not None else {})
        for setting in (f"SET threads = {threads}", *_SETTINGS):
            self._connection.execute(setting)

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection to it for one thread. Raises RecordingClosed once it is closed."""
        with self._lock:
            if self._is_closed:
                raise RecordingClosed(str(self._path), RecordingClosed.CLOSED)
            return self._connection.cursor()

    def sql(self, query: str, values: Sequence[Any]) -> duckdb.DuckDBPyRelation:
        """A question on a cursor of its own: any thread may ask, and none waits for another. Raises RecordingClosed."""
        cursor = self.cursor()
        try:
            return cursor.sql(query, params=values)
        except duckdb.ConnectionException:
            if self._is_closed:
                raise RecordingClosed(str(self._path), RecordingClosed.CLOSED) from None
            raise

    def close(self) -> None:
        """Close it, once the calls that are going on have ended."""
        with self._lock:
            self._is_closed = True
            while True:
                try:
                    self._connection.close()
                except duckdb.Error as error:
                    if "busy" not in str(error):
                        raise
                    time.sleep(0.001)
                else:
                    return

    def abandon(self) -> None:
        """In a forked child: never touch it, not even by a destructor; who held the lock is not there."""
        self._lock = threading.Lock()
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))


def attach(db: Database, name: str, file: Path | None, *, is_read_only: bool) -> str:
    """
    Attach a DuckDB file as a database of this name, made where it is not there (in memory for None); SQL of its events.

    Raises:
        duckdb.Error: it cannot be read.
    """
    quoted = str(file or ":memory:").replace("'", "''")
    if file is not None and is_read_only:
        db.cursor().execute(f"ATTACH IF NOT EXISTS '{quoted}' AS {name} (READ_ONLY)")
    else:
        is_there = file is not None and file.exists()  # then it keeps the version that it has
        how = f"ROW_GROUP_SIZE {ROW_GROUP}" + ("" if is_there else f", STORAGE_VERSION '{_STORAGE}'")
        columns = ", ".join(f"{column} {kind}" for column, kind in TABLE.items())
        db.cursor().execute(f"ATTACH IF NOT EXISTS '{quoted}' AS {name} ({how})")
        db.cursor().execute(f"CREATE TABLE IF NOT EXISTS {name}.events ({columns})")
    return f"{name}.events"


def detach(db: Database, name: str) -> None:
    """Let go of a file."""
    db.cursor().execute(f"DETACH {name}")


def database(first: int, file: Path | None) -> str:
    """The name that a segment's DuckDB file is attached by."""
    generation = _generation(file)
    return f"s{first}_{generation}" if generation else f"s{first}"


def find(directory: Directory) -> dict[int, Path]:
    """The file that counts of each segment, by its first seq: the latest archive, else the latest DuckDB file."""
    found: dict[int, Path] = {}
    for kind in (directory.segments.glob("[0-9]*.duckdb"), directory.archive.glob("[0-9]*.parquet")):
        for file in sorted(kind, key=_generation):
            found[_first(file)] = file
    return found


def is_rewritten(file: Path | None) -> bool:
    """Whether a file was packed or archived, and so is never written again."""
    return _generation(file) > 0


def rewriting(folder: Path, first: int, old: Path | None, suffix: str) -> Path:
    """The name for what is in ``old`` to be written anew."""
    generation = _generation(old) + 1 if old is not None and old.suffix == suffix else 1
    return folder / f"{first:018d}-{generation}{suffix}"


def _first(file: Path) -> int:
    return int(file.name[:18])


def _generation(file: Path | None) -> int:
    return int(file.stem.partition("-")[2] or 0) if file is not None else 0


def clear(directory: Directory, found: dict[int, Path], dropped: set[int]) -> None:
    """Remove what a crash left: drafts, files that a later one replaced, dropped segments."""
    shutil.rmtree(directory.path / "tmp", ignore_errors=True)
    for draft in [*directory.archive.glob(".*.tmp"), *directory.segments.glob("*.tmp*"), *directory.path.glob("*.tmp")]:
        draft.unlink(missing_ok=True)
    for file in [*directory.archive.glob("[0-9]*.parquet"), *directory.segments.glob("[0-9]*.duckdb*")]:
        kept = found.get(_first(file))
        if kept is not None and file.name not in (kept.name, f"{kept.name}.wal"):
            file.unlink()
    for first in dropped:
        forget(directory.segments, first, found.get(first))


def unlink(file: Path) -> None:
    """Remove a segment's file, and its log where it has one."""
    remove(file.with_name(f"{file.name}.wal"))
    file.unlink(missing_ok=True)
    sync(file.parent)


def forget(folder: Path, first: int, file: Path | None) -> None:
    """Remove a segment's file and all that is kept about it."""
    if file is not None:
        unlink(file)
    for one in folder.glob(f"{first:018d}*"):
        one.unlink(missing_ok=True)
    sync(folder)
