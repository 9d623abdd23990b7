"""A line between a client and a server that can be cut, cut by itself at random bytes, frozen, or closed to some requests."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

_REQUEST = re.compile(rb"[A-Z]{3,7} \S+ HTTP/1\.1")


class Line:
    """A TCP proxy in a thread of its own; ``url`` leads through it. One that is raw carries anything, else it reads HTTP."""

    def __init__(self, url: str, *, seed: int = 0, is_raw: bool = False) -> None:
        parts, self._is_raw = urlsplit(url), is_raw
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._random = random.Random(seed)
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._is_flowing = asyncio.Event()
        self._is_flowing.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.bytes_until_cut: int | None = None  # a mean; each connection has its own
        self.refused: dict[bytes, bytes] = {}  # what a request's head holds -> how it is answered
        self.requests: list[bytes] = []
        self.cuts = 0
        self._thread = threading.Thread(target=self._loop.run_forever, name="line", daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        self.url = f"{parts.scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", 0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        upstream: asyncio.StreamWriter | None = None
        try:
            head = b"" if self._is_raw else await reader.readuntil(b"\r\n\r\n")
            self.requests += _REQUEST.findall(head)
            for word, status in self.refused.items():
                if word in head:
                    writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    await writer.drain()
                    return
            back, upstream = await asyncio.open_connection(*self._target)
            self._open.add(upstream)
            upstream.write(head)
            mean = self.bytes_until_cut
            left = [self._random.randint(1, 2 * mean) if mean else 2**62]
            pumps = [
                asyncio.ensure_future(self._pump(reader, upstream, left, is_asking=True)),
                asyncio.ensure_future(self._pump(back, writer, left, is_asking=False)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for end in (writer, upstream):
                if end is not None:
                    self._open.discard(end)
                    end.transport.abort()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, left: list[int], *, is_asking: bool
    ) -> None:
        while piece := await source.read(65_536):
            if is_asking:
                self.requests += _REQUEST.findall(piece)
            await self._is_flowing.wait()
            sink.write(piece[: left[0]])
            left[0] -= len(piece)
            await sink.drain()
            if left[0] <= 0:
                self.cuts += 1
                return

    def cut(self) -> None:
        """Break every connection at once."""

        def abort() -> None:
            self.cuts += len(self._open)
            for end in list(self._open):
                end.transport.abort()

        self._loop.call_soon_threadsafe(abort)

    def freeze(self) -> None:
        """Carry nothing more, and say nothing of it."""
        self._loop.call_soon_threadsafe(self._is_flowing.clear)

    def thaw(self) -> None:
        """Carry on."""
        self._loop.call_soon_threadsafe(self._is_flowing.set)

    def close(self) -> None:
        """End it."""

        async def end() -> None:
            self._server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@contextlib.contextmanager
def line(url: str, *, seed: int = 0, is_raw: bool = False) -> Iterator[Line]:
    """A line to a server, ended with the block."""
    found = Line(url, seed=seed, is_raw=is_raw)
    try:
        yield found
    finally:
        found.close()
