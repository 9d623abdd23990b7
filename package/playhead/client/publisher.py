"""
Publishing from a job: it never waits, and never raises into the job because of the server.

Events go into a bounded queue; one thread sends them in order, in batches by size and time. While the server is away
they are written to a spill file and sent when it is back, by this process or the next. ``id`` makes it exactly once.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections import deque

from playhead.client import resume
from playhead.client.http import Http
from playhead.client.spill import Spill, wire
from playhead.errors import AccessDenied, PlayheadError, RequestRefused, ServerUnavailable
from playhead.events import NewEvent

_log = logging.getLogger("playhead.publisher")
_BATCH, _BATCH_BYTES = 1000, 4 * 2**20
_LINGER_S = 0.005
_MOST_IN_MEMORY = 100_000
_EXIT_S = 5.0
_open: weakref.WeakSet[Publisher] = weakref.WeakSet()


class Publisher:
    """Sends events to one server in the order they were given."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self._queue: deque[NewEvent | bytes] = deque()
        self._lost = 0
        self._start()
        _open.add(self)

    def _start(self) -> None:
        self._pid = os.getpid()
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._is_closing = False
        self._is_away = False
        self._warned = -1e9
        self._spilled = 0  # of the queue's head, how many are in the spill file
        self._spill: Spill | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def put(self, event: NewEvent) -> None:
        """Take an event; returns at once."""
        if self._pid != os.getpid():  # forked: what the parent queued, the parent sends
            self._queue = deque()
            self._start()
        self._queue.append(event)
        self._idle.clear()
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="playhead-publisher", daemon=True)
                    self._thread.start()
        if not self._wake.is_set():
            self._wake.set()

    def adopt(self) -> None:
        """Send what dead processes left for this server."""
        self._spill = self._spill or Spill(self._http.url)
        left = self._spill.adopt()
        if left:
            self._spilled = len(left)
            first = list(self._queue)
            self._queue.clear()
            self._queue.extend([*left, *first])
            self._idle.clear()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything is with the server; False when the time is over first."""
        self._wake.set()
        return self._idle.wait(timeout)

    def close(self, timeout: float = _EXIT_S) -> None:
        """Send what is left for at most ``timeout`` seconds; the rest stays in the spill file."""
        if self._thread is None or self._is_closing:
            return
        self.flush(timeout)
        self._is_closing = True
        self._wake.set()
        self._thread.join(2)

    def _run(self) -> None:
        attempt = 0
        try:
            self.adopt()
        except OSError as error:
            self._warn(f"the spill folder cannot be used ({error})")
        while True:
            if not self._queue:
                self._idle.set()
                if self._queue:
                    self._idle.clear()
                    continue
                if self._is_closing:
                    return
                self._wake.wait()
                self._wake.clear()
                time.sleep(_LINGER_S)
                continue
            batch = self._head()
            try:
                self._send(batch)
            except (ServerUnavailable, AccessDenied, RequestRefused) as error:
                if isinstance(error, RequestRefused) and error.status in (400, 413, 415, 422):
                    self._lost += len(batch)
                    self._warn(f"{len(batch)} events were refused and are dropped: {error}")
                    self._sent(len(batch))
                    continue
                attempt += 1
                self._keep()
                self._warn(f"{error}; {len(self._queue):,} events wait in a file and are sent when it is back")
                if self._is_closing:
                    return
                self._wake.clear()
                self._wait(resume.wait_s(attempt))
                continue
            except Exception:
                _log.exception("sending failed; it is tried again")
                self._wait(1.0)
                continue
            attempt = 0
            self._sent(len(batch))

    def _wait(self, seconds: float) -> None:
        """Between two tries; what is published meanwhile goes to the file as it comes."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._is_closing:
            if self._wake.wait(min(left, 0.5)):
                self._wake.clear()
                time.sleep(0.05)
            self._keep()

    def _head(self) -> list[bytes]:
        """The next batch as it goes over the wire."""
        batch: list[bytes] = []
        size = 0
        for place in range(min(_BATCH, len(self._queue))):
            item = self._queue[place]
            line = item if isinstance(item, bytes) else wire(item)
            size += len(line)
            if batch and size > _BATCH_BYTES:
                break
            batch.append(line)
        return batch

    def _send(self, batch: list[bytes]) -> None:
        self._http.call("POST", "/api/events", content=b"\n".join(batch), headers={"Content-Type": "application/x-ndjson"})

    def _sent(self, count: int) -> None:
        for _ in range(count):
            self._queue.popleft()
        was_spilled = self._spilled > 0
        self._spilled = max(0, self._spilled - count)
        if was_spilled and not self._spilled and self._spill is not None:
            self._spill.clear()

    def _keep(self) -> None:
        """Write what is queued and not in the file yet to the file."""
        count = len(self._queue)
        if count <= self._spilled:
            return
        try:
            self._spill = self._spill or Spill(self._http.url)
            items = [self._queue[place] for place in range(self._spilled, count)]
            self._spill.append([item if isinstance(item, bytes) else wire(item) for item in items])
            self._spilled = count
        except OSError as error:
            self._warn(f"events cannot be written to the spill file ({error}); they wait in memory")
            while len(self._queue) > _MOST_IN_MEMORY:
                self._queue.pop()
                self._lost += 1

    def _warn(self, text: str) -> None:
        """Into the log, at most once a minute."""
        if time.monotonic() - self._warned > 60:
            self._warned = time.monotonic()
            _log.warning("playhead: %s", text)



def _at_exit() -> None:
    for publisher in list(_open):
        try:
            publisher.close()
        except PlayheadError:
            _log.exception("publishing did not end cleanly")


atexit.register(_at_exit)
