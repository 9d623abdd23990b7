"""One subscription of a socket: catching up by asking, and then, with no task of its own, being handed what comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from starlette.types import Message

from playhead.errors import CursorGone
from playhead_server.fanout import FeedClosed, Reader
from playhead_server.groups import Stretch
from playhead_server.line import Line

_encode = msgspec.json.Encoder().encode
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Subscription:
    """
    A reader of a socket, and what the client was told of it.

    Attributes:
        sent: The position up to which everything that matches was sent.
        told: The position that the client was last told; the next message begins there or before.
    """

    def __init__(
        self, identity: str, reader: Reader, line: Line, epoch: str, spawn: Spawn, when_over: Callable[[str], None]
    ) -> None:
        self._identity, self._reader, self._line, self._epoch = identity, reader, line, epoch
        self._spawn, self._when_over = spawn, when_over
        self.sent = self.told = reader.cursor
        self._is_announced = False
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Send everything from the reader's cursor on."""
        self._task = self._spawn(self._catch_up())

    def settle(self) -> int:
        """Move on over what does not match, and return the position."""
        if self.sent >= self._reader.cursor and self._reader.is_caught_up:
            self.sent = self._reader.settle()
        return self.sent

    def tell(self, at: int) -> None:
        """The client was told this position."""
        self.told = max(self.told, at)

    def close(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
        self._reader.close()

    async def _catch_up(self) -> None:
        reader = self._reader
        try:
            while True:
                if reader.is_caught_up:
                    at = self.settle()
                    if not self._is_announced:
                        self._is_announced = True
                        await self._say({"op": "caught_up", "id": self._identity, "at": f"{self._epoch}:{at}"})
                        self.tell(at)
                    if reader.attach(self._push, self.begin):
                        self.sent = reader.cursor
                        return
                stretch = await reader.next()
                if stretch.provisional:
                    await self._line.send(self._provisional(stretch))
                    continue
                if stretch.events:
                    await self._line.send(self._message(stretch))
                    self.tell(stretch.to)
                self.sent = max(self.sent, stretch.to)
        except FeedClosed:
            return
        except CursorGone as gone:
            self._when_over(self._identity)
            reader.close()
            await self._say(
                {"op": "reset", "id": self._identity, "reason": gone.reason, "oldest": str(gone.oldest)}
            )

    def _push(self, stretch: Stretch) -> bool:
        if stretch.provisional:
            self._reader.hear(stretch)
            return self._line.push(self._provisional(stretch))
        if not self._line.push(self._message(stretch)):
            return False
        self.tell(stretch.to)
        self.sent = stretch.to
        return True

    async def _say(self, message: dict[str, Any]) -> None:
        await self._line.send(self._line.message(_encode(message)))

    def _provisional(self, stretch: Stretch) -> Message:
        """Events without seqs, for who wants to know before; they come again."""

        def build() -> Message:
            head = _encode({"op": "provisional", "id": self._identity})
            return self._line.message(head[:-1] + b',"events":[' + b",".join(stretch.events) + b"]}")

        return stretch.form((self._identity, self._line.is_compressed), build)

    def _message(self, stretch: Stretch) -> Message:
        """The stretch as a message, shared by all who are told the same."""
        start = min(self.told, stretch.after)
        line = self._line

        def build() -> Message:
            head = _encode(
                {
                    "op": "events", "id": self._identity, "from": f"{self._epoch}:{start}",
                    "to": f"{self._epoch}:{stretch.to}",
                }
            )  # fmt: skip
            return line.message(head[:-1] + b',"events":[' + b",".join(stretch.events) + b"]}")

        return stretch.form((self._identity, start, line.is_compressed), build)
