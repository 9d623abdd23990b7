"""How work in the background lets those go first that somebody waits for."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_NICE = 10
_FLUSH_S = 0.01
_SHRINK, _SHRINK_S = 2 * 2**20, 0.003


def give_way(nice: int = _NICE) -> None:
    """Have this thread take what processor time others leave."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)


@contextlib.contextmanager
def flushed(file: Path) -> Iterator[None]:
    """
    While a large file is written: have what is there go to the disk every few milliseconds.

    At its end all would go at once, and a commit to another file of the same file system waits for that (ext4 has one
    journal; some 30 ms for 15 MB).
    """
    is_over = threading.Event()
    handle = os.open(file, os.O_RDONLY)

    def work() -> None:
        while not is_over.wait(_FLUSH_S):
            with contextlib.suppress(OSError):  # whoever writes it hears of it
                os.fdatasync(handle)

    thread = threading.Thread(target=work, name="playhead-flush", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        os.close(handle)


def remove(file: Path) -> None:
    """Remove a file that may be large, bit by bit for the same reason; where there is none, nothing."""
    with contextlib.suppress(FileNotFoundError):
        for size in range(file.stat().st_size - _SHRINK, 0, -_SHRINK):
            os.truncate(file, size)
            time.sleep(_SHRINK_S)
        file.unlink()
