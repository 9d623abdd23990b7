"""History in every format: which one a request wants, and rows of Arrow as a stream of bytes in flat memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pyarrow as pa
from starlette.requests import Request

from playhead import files
from playhead_server import params
from playhead_server.problems import Problem

_PIECE = 2**18
_THREADS = ThreadPoolExecutor(2, "playhead-export")
FORMATS = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}


def wanted(request: Request, allowed: tuple[str, ...]) -> str:
    """The format asked for by ``format=`` or ``Accept``; raises Problem 406."""
    asked = params.single(request.query_params, "format")
    if asked is not None:
        if asked in allowed:
            return asked
        raise Problem(406, f"format {asked[:40]!r} is not to be had here; ask for {', '.join(allowed)}")
    weights: dict[str, float] = {}
    for part in (request.headers.get("accept") or "*/*").split(","):
        kind, *options = (piece.strip().lower() for piece in part.split(";"))
        weight = next((option[2:] for option in options if option.startswith("q=")), "1")
        try:
            weights["*/*" if kind == "*" else kind] = float(weight)
        except ValueError:
            continue

    def weight_of(name: str) -> float:  # the most specific range that names it (RFC 9110, section 12.5.1)
        kind = FORMATS[name]
        ranges = (kind, kind.partition("/")[0] + "/*", "*/*")
        return next((weights[one] for one in ranges if one in weights), 0.0)

    best = max(allowed, key=weight_of)
    if weight_of(best) <= 0:
        raise Problem(406, f"send an Accept of {', '.join(FORMATS[name] for name in allowed)}")
    return best


async def pieces(name: str, reader: pa.RecordBatchReader, cursor: str) -> AsyncIterator[bytes]:
    """The rows of a reader in a format, made in threads that let others go first, in pieces that a socket takes at once."""
    loop, made = asyncio.get_running_loop(), files.pieces(name, reader, lambda rows, last: cursor)
    following = loop.run_in_executor(_THREADS, next, made, None)
    try:
        while (piece := await following) is not None:
            following = loop.run_in_executor(_THREADS, next, made, None)  # made while this one is sent
            for place in range(0, len(piece), _PIECE):
                yield piece[place : place + _PIECE]
    finally:
        following.add_done_callback(partial(_end, made))


def _end(made: Generator[bytes], last: asyncio.Future[bytes | None]) -> None:
    """Have a stream let go of what it holds in place; where nobody listens any more, what failed last is no news."""
    if not last.cancelled():
        last.exception()
    _THREADS.submit(made.close)
