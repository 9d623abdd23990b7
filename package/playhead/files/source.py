"""A file that events are read from: what it is called, its bytes unpacked, and what of it had no place in an event."""

from __future__ import annotations

import gzip
import io
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, cast

import zstandard

Fields = dict[str, Any]
Rows = Iterator[tuple[str, Fields]]  # where each event stands in the file, and its fields

UNFINISHED = ".inprogress"  # as Spark ends the name of a log that it still writes


def _open_zstd(path: Path, mode: Literal["rb"]) -> IO[bytes]:
    # zstandard.open reads no lines, and ends after the first of several frames
    reader = zstandard.ZstdDecompressor().stream_reader(path.open(mode), read_across_frames=True, closefd=True)
    return io.BufferedReader(cast("io.RawIOBase", reader))


_OPENERS: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open, ".zst": _open_zstd, ".zstd": _open_zstd}
_WRAPPING = re.compile(rf"({'|'.join(map(re.escape, (*_OPENERS, UNFINISHED)))})+\Z")
_ENDINGS = re.compile(r"\.(json|log|ndjson|spark|swf|txt|xes|xml)\Z")
_PIECE = 128 * 1024
_LONGEST_LINE = 32 * 2**20  # bytes; an event of ours has far less, a plan of Spark some MB
MOST_UNPACKED, ALWAYS_UNPACKED = 250, 64 * 2**20  # times its size; logs pack to a tenth, all alike to a hundredth
_UNREADABLE = (gzip.BadGzipFile, lzma.LZMAError, EOFError, zlib.error, zstandard.ZstdError)


class Source(NamedTuple):
    """A file, what it is, and what of it had no place in an event: counted by what it is, filled while it is read."""

    path: Path
    kind: str
    unmapped: Counter[str]

    @property
    def stem(self) -> str:
        """Its name without its endings, for what the file itself does not name."""
        plain = plain_name(self.path)
        return _ENDINGS.sub("", plain) or plain

    def refusal(self, where: str, reason: object) -> ValueError:
        """The error that ends an import, by where in the file it is and what to write instead."""
        return ValueError(f"{self.path}, {where}: {reason}; nothing was imported")


def plain_name(path: Path) -> str:
    """A file's name without how it is packed and that it is still being written."""
    return _WRAPPING.sub("", path.name) or path.name


class _Unpacked(io.RawIOBase):
    """What is unpacked, as long as it is not far more than a log can have been packed from."""

    def __init__(self, source: Source, file: Any) -> None:
        super().__init__()
        self._source, self._file, self._count = source, file, 0
        self._most = max(ALWAYS_UNPACKED, MOST_UNPACKED * source.path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count: int = self._file.readinto(buffer)
        self._count += count
        if self._count > self._most:
            reason = f"unpacks to over {self._most:,} bytes, {MOST_UNPACKED} times its size; unpack it first, if it is right"
            raise self._source.refusal("packed", reason)
        return count


@contextmanager
def opened(source: Source) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked where its ending says that it is packed; raises ValueError where that fails."""
    opener = _OPENERS.get(Path(source.path.name.removesuffix(UNFINISHED)).suffix)
    try:
        with cast("IO[bytes]", (opener or open)(source.path, "rb")) as found:
            yield cast("IO[bytes]", io.BufferedReader(_Unpacked(source, found), _PIECE)) if opener else found
    except _UNREADABLE as error:
        raise ValueError(f"{source.path} cannot be read as {source.kind}: {error}; nothing was imported") from None


def lines(source: Source) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are not empty, with their numbers."""
    with opened(source) as found:
        for number, line in enumerate(iter(partial(found.readline, _LONGEST_LINE + 1), b""), 1):
            if len(line) > _LONGEST_LINE:
                raise source.refusal(f"line {number}", f"has over {_LONGEST_LINE:,} bytes; write an event a line")
            if line.strip():
                yield number, line
