"""
A socket's way out. What can be sent without waiting is sent at once, from wherever it comes; nothing is queued for a slow one.

uvicorn takes a message while its transport holds less than 64 KiB, and waits before it takes one otherwise. So a message is
begun, and where it would wait the line is stuck until that message is gone: whoever has more to say is told so, and comes
back for it.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import zstandard
from starlette.types import Message, Send

_compress = zstandard.ZstdCompressor(3).compress  # shared: one of these takes more memory than a connection


class TooSlow(Exception):
    """The other side did not take a message in time."""


class Line:
    """
    Sending on one WebSocket.

    Attributes:
        is_compressed: Whether its messages are zstd frames.
    """

    def __init__(self, send: Send, *, is_compressed: bool, limit_s: float, when_broken: Callable[[Exception], None]) -> None:
        self._send, self._limit_s, self._when_broken = send, limit_s, when_broken
        self.is_compressed = is_compressed
        self._stuck: asyncio.Task[None] | None = None

    def message(self, text: bytes) -> Message:
        """A text of JSON as this line sends it."""
        if self.is_compressed:
            return {"type": "websocket.send", "bytes": _compress(text)}
        return {"type": "websocket.send", "text": text.decode()}

    def push(self, message: Message) -> bool:
        """Send a message without waiting; False, and nothing is sent, while an earlier one has not gone out."""
        if self._stuck is not None:
            return False
        sending = self._send(message)
        assert isinstance(sending, Coroutine)
        try:
            waiting = sending.send(None)
        except StopIteration:
            return True
        except Exception as error:
            self._when_broken(error)
            return False
        self._stuck = asyncio.create_task(self._finish(sending, waiting))
        return True

    async def send(self, message: Message) -> None:
        """
        Send a message, after all that are on their way.

        Raises:
            TooSlow: the other side did not take it in time.
        """
        while not self.push(message):
            if self._stuck is None:
                raise TooSlow  # it has broken, which was told
            await asyncio.wait([self._stuck])

    async def _finish(self, sending: Coroutine[Any, Any, None], waiting: object) -> None:
        try:
            async with asyncio.timeout(self._limit_s):
                await _rest(sending, waiting)
        except TimeoutError:
            self._when_broken(TooSlow())
        except Exception as error:
            self._when_broken(error)
        finally:
            self._stuck = None

    def close(self) -> None:
        """Wait for nothing any more."""
        if self._stuck is not None:
            self._stuck.cancel()


@types.coroutine
def _rest(sending: Coroutine[Any, Any, None], waiting: object) -> Generator[Any, Any, None]:
    """What is left of a coroutine that was begun by hand and waits for something."""
    try:
        while True:
            try:
                value = yield waiting
            except BaseException as error:
                waiting = sending.throw(error)
            else:
                waiting = sending.send(value)
    except StopIteration:
        return
