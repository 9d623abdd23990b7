"""
Whether a segment's file can be read as it was written.

A DuckDB file has a checksum in each block, which DuckDB looks at when it reads it. It looks at none in a Parquet file, so
the catalogue has one of each archive; the file is checked against it when it is first read.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import duckdb

from playhead.recording.files import Database

_PIECE = 2**20
# what says nothing about a file: it may be read later, or by another
_PASSING = (
    "Could not set lock", "Permission denied", "Too many open files", "No space left", "File too large", "Out of Memory",
    "has been invalidated", "INTERRUPT", "onnection",
)  # fmt: skip


def is_passing(error: Exception) -> bool:
    """Whether an error is of this moment and not of the file."""
    return isinstance(error, PermissionError) or any(words in str(error) for words in _PASSING)


def checksum(path: Path) -> int:
    """The CRC-32 of a file."""
    found = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            found = zlib.crc32(piece, found)
    return found


def flaw(db: Database, table: str, file: Path | None, expected: int | None) -> str | None:
    """What is wrong with a segment's file, all of it read; None where it is as it was written."""
    if file is None:
        return None
    try:
        if expected is not None:
            return None if checksum(file) == expected else f"{file.name} is damaged: its checksum is another"
        db.cursor().execute(f"SELECT count(hash(whole)) FROM {table} whole").fetchall()
    except (duckdb.Error, OSError) as error:
        return None if is_passing(error) else unreadable(file, error)
    return None


def unreadable(file: Path, error: Exception) -> str:
    """Why a file counts as missing."""
    if isinstance(error, FileNotFoundError) or not file.exists():
        return f"{file.name} is gone"
    return f"{file.name} cannot be read: {str(error).splitlines()[0]}"
