"""From the writer's thread back into the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from playhead.recording import Appended


class Confirmations:
    """Tells an event loop what the writer's thread has done, all of a commit with one wake-up."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready: deque[Callable[[], object]] = deque()
        self._is_waking = False

    def when(self, future: Future[Appended], then: Callable[[], object]) -> None:
        """Call back in the loop once a request is done."""
        future.add_done_callback(lambda _: self._add(then))

    def _add(self, then: Callable[[], object]) -> None:
        self._ready.append(then)
        if not self._is_waking:
            self._is_waking = True
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
                self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._is_waking = False  # before it looks: what is added from here on wakes again
        while self._ready:
            self._ready.popleft()()
