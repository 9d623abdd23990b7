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


@contextmanager
def opened(source: Source) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked where its ending says that it is packed; raises ValueError where that fails."""
    ending = Path(source.path.name.removesuffix(UNFINISHED)).suffix
    opener = _OPENERS.get(ending, open)
    try:
        with cast("IO[bytes]", opener(source.path, "rb")) as found:
            yield found
    except _UNREADABLE as error:
        raise ValueError(f"{source.path} cannot be read as {source.kind}: {error}; nothing was imported") from None


def lines(source: Source) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are not empty, with their numbers."""
    with opened(source) as found:
        for number, line in enumerate(found, 1):
            if line.strip():
                yield number, line
