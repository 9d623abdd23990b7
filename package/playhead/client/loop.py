"""The one daemon thread and event loop that every client of a process shares."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

_T = TypeVar("_T")
_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def shared() -> asyncio.AbstractEventLoop:
    """The loop, started when first needed."""
    global _loop
    with _lock:
        if _loop is None or _loop.is_closed():
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="playhead-client", daemon=True).start()
        return _loop


def spawn(work: Coroutine[Any, Any, _T]) -> Future[_T]:
    """Run a coroutine in the shared loop."""
    return asyncio.run_coroutine_threadsafe(work, shared())


def _forget() -> None:
    """After a fork the thread is gone; the child starts its own."""
    global _loop, _lock
    _lock = threading.Lock()
    _loop = None


os.register_at_fork(after_in_child=_forget)
