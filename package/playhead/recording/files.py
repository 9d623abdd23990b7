"""
The files of segments: DuckDB files attached to one in-memory DuckDB as ``s<first>``, and Parquet files.

A checkpoint of the file being written would block its commits for its whole length, so DuckDB never makes one by itself;
`upkeep.py` has the sealed ones checkpointed. Until that has worked the write-ahead log holds the events just as durably.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb

from playhead.columns import TABLE
from playhead.recording.directory import Directory, sync

_SETTINGS = (
    "SET threads = 2",
    "SET wal_autocheckpoint = '100GB'",
    "SET auto_checkpoint_skip_wal_threshold = 1000000000000",
    "SET enable_progress_bar = false",
    "PRAGMA disable_checkpoint_on_shutdown",  # a forked child that ends must not write to its parent's files
)
_ROW_GROUP = 61_440  # half of DuckDB's own: a question skips more


def connect(temporary: Path | None) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB for segments to be attached to."""
    db = duckdb.connect(config={"temp_directory": str(temporary)} if temporary is not None else {})
    for setting in _SETTINGS:
        db.execute(setting)
    return db


def attach(db: duckdb.DuckDBPyConnection, first: int, file: Path | None, *, is_read_only: bool) -> str:
    """
    Attach a segment's file, made where it is not there (in memory for None); the SQL name of its events.

    Raises:
        duckdb.Error: it cannot be read.
    """
    name = str(file or ":memory:").replace("'", "''")
    how = "READ_ONLY" if is_read_only and file is not None else f"ROW_GROUP_SIZE {_ROW_GROUP}"
    db.cursor().execute(f"ATTACH IF NOT EXISTS '{name}' AS s{first} ({how})")
    if not (is_read_only and file is not None):
        columns = ", ".join(f"{name} {kind}" for name, kind in TABLE.items())
        db.cursor().execute(f"CREATE TABLE IF NOT EXISTS s{first}.events ({columns})")
    return f"s{first}.events"


def detach(db: duckdb.DuckDBPyConnection, first: int) -> None:
    """Let go of a segment's file."""
    db.cursor().execute(f"DETACH s{first}")


def find(directory: Directory) -> dict[int, Path]:
    """The file that counts of each segment, by its first seq: the latest archive, else the DuckDB file."""
    found = {int(file.stem): file for file in directory.segments.glob("*.duckdb")}
    for file in sorted(directory.archive.glob("[0-9]*.parquet"), key=_generation):
        found[int(file.stem.split("-")[0])] = file
    return found


def archive_name(folder: Path, first: int, old: Path | None) -> Path:
    """The name of the next archive of a segment whose events are in ``old``."""
    generation = _generation(old) + 1 if old is not None and old.suffix == ".parquet" else 1
    return folder / f"{first:018d}-{generation}.parquet"


def _generation(file: Path) -> int:
    return int(file.stem.partition("-")[2] or 0)


def clear(directory: Directory, found: dict[int, Path], dropped: set[int]) -> None:
    """Remove what a crash left: drafts, archives and DuckDB files that a later archive replaced, dropped segments."""
    shutil.rmtree(directory.path / "tmp", ignore_errors=True)
    for draft in [*directory.archive.glob(".*.tmp"), *directory.segments.glob("*.tmp"), *directory.path.glob("*.tmp")]:
        draft.unlink(missing_ok=True)
    for file in directory.archive.glob("[0-9]*.parquet"):
        if file != found[int(file.stem.split("-")[0])]:
            file.unlink()
    for first in {int(file.name.partition(".")[0]) for file in directory.segments.glob("*.duckdb*")} & found.keys():
        if found[first].suffix == ".parquet":
            remove(directory.segments, first, None, is_replaced=True)
    for first in dropped:
        remove(directory.segments, first, found.get(first), is_replaced=False)


def remove(folder: Path, first: int, file: Path | None, *, is_replaced: bool) -> None:
    """Remove a segment's file and its logs, and what is kept about it unless its archive goes on with that."""
    if file is not None and file.suffix == ".parquet":
        file.unlink(missing_ok=True)
        sync(file.parent)
    gone = list(folder.glob(f"{first:018d}.{'duckdb*' if is_replaced else '*'}"))
    for one in gone:
        one.unlink(missing_ok=True)
    if gone:
        sync(folder)
