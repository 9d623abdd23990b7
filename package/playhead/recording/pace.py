"""How work in the background lets those go first that somebody waits for."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

_NICE = 10
_AT_ONCE, _PAUSE_S = 200, 0.0001
Item = TypeVar("Item")


def give_way() -> None:
    """Have this thread take what processor time others leave."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def gently(items: Iterable[Item]) -> Iterator[Item]:
    """The same, with pauses: a loop that keeps the interpreter for its 5 ms delays the commit that somebody waits for."""
    for number, item in enumerate(items):
        if number % _AT_ONCE == 0:
            time.sleep(_PAUSE_S)
        yield item
