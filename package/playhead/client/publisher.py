"""
Publishing from a job: it never waits for the server, and never raises into the job because of it.

Events are one queue in two parts: the front in a file (only when the server is slow or away), the rest in memory. One
thread sends from the front, in order, one request at a time, so that what comes meanwhile goes into the next one. A
second one moves what has waited for half a second into the file, from where the next process sends it if this one is
killed. ``id`` makes each event exactly once.
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
_LEAST = 10  # a request that a bad line cuts is tried again with half the events, down to so many
_PACE_S = 0.004  # from one request's start to the next: at once when idle, coalesced under load
_KEEP_S = 0.5
_MOST_IN_MEMORY = 20_000  # then they go to the file at once
_MOST_WITHOUT_FILE = 200_000  # when the file cannot be written either
_EXIT_S = 5.0
_open: weakref.WeakSet[Publisher] = weakref.WeakSet()


class Publisher:
    """Sends events to one server in the order they were given."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self.lost = 0
        self._warned = -1e9
        self._spill = Spill(http.url)
        self._begin()
        _open.add(self)

    def _begin(self) -> None:
        """State of one process, with no thread yet."""
        self._memory: deque[NewEvent | bytes] = deque()
        self._most = _BATCH
        self._since = 0.0  # no event in memory was put before that
        self._tail = threading.Lock()  # of the memory's end; never held for long, so `put` returns at once
        self._guard = threading.Lock()  # of the memory's front and of the file
        self._wake, self._keeping, self._idle = threading.Event(), threading.Event(), threading.Event()
        self._idle.set()
        self._is_closing = False
        self._threads: list[threading.Thread] = []
        self._starting = threading.Lock()

    def put(self, event: NewEvent) -> None:
        """Take an event; returns at once."""
        with self._tail:
            if not self._memory:
                self._since = time.monotonic()
            self._memory.append(event)
            self._idle.clear()
        if self._is_closing:
            self._keep()
            self._spill.release()
            self._warn("an event was published after close(); it waits in a file for the next client")
            return
        if not self._threads:
            self._start()
        if not self._wake.is_set():
            self._wake.set()
        if not self._keeping.is_set():
            self._keeping.set()
        if len(self._memory) > _MOST_IN_MEMORY:
            self._keep()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything is with the server; False when the time is over first."""
        self._wake.set()
        return self._idle.wait(timeout)

    def close(self, timeout: float = _EXIT_S) -> None:
        """Send what is left for at most ``timeout`` seconds; the rest stays in the file. Again is harmless."""
        if not self._threads or self._is_closing:
            return
        is_empty = self.flush(timeout)
        self._is_closing = True
        self._wake.set()
        self._keeping.set()
        if not is_empty:
            self._keep()
        for thread in self._threads:
            thread.join(0.5)
        self._spill.release()

    def forget(self) -> None:
        """In a forked child: what the parent queued, the parent sends."""
        self._spill.release()
        self._begin()

    def _start(self) -> None:
        with self._starting:
            if not self._threads:
                works = {"playhead-publisher": self._run, "playhead-keeper": self._run_keeper}
                self._threads = [
                    threading.Thread(target=work, name=name, daemon=True) for name, work in works.items()
                ]
                for thread in self._threads:
                    thread.start()

    # the front of the queue

    def _front(self) -> tuple[list[bytes], bool]:
        """The next batch as it goes over the wire, and whether it is in the file."""
        with self._guard:
            lines = self._spill.front(self._most, _BATCH_BYTES)
            if lines:
                return lines, True
            size = 0
            for place in range(min(self._most, len(self._memory))):
                item = self._memory[place]
                line = item if isinstance(item, bytes) else wire(item)
                size += len(line)
                if place and size > _BATCH_BYTES:
                    break
                lines.append(line)
            return lines, False

    def _done(self, lines: list[bytes], was_in_file: bool, begun: float) -> None:
        """These, sent at ``begun``, are with the server."""
        with self._guard:
            if self._is_closing:
                return  # what was kept is sent again; its ids make that harmless
            if was_in_file or not self._spill.is_empty:  # moved there while they were on their way
                self._spill.drop(lines)
            else:
                for _ in lines:
                    self._memory.popleft()
                self._since = begun

    def _keep(self) -> None:
        """Move the memory into the file."""
        with self._guard:
            items = [self._memory.popleft() for _ in range(len(self._memory))]
            if not items:
                return
            try:
                self._spill.append([item if isinstance(item, bytes) else wire(item) for item in items])
            except OSError as error:
                self.lost += max(0, len(items) - _MOST_WITHOUT_FILE)
                self._memory.extendleft(reversed(items[:_MOST_WITHOUT_FILE]))
                more = f"; {self.lost:,} were dropped for want of room" if self.lost else ""
                self._warn(f"events wait in memory, the spill file cannot be written ({error}){more}")

    # the threads

    def _run(self) -> None:
        attempt = 0
        with self._guard:
            try:
                self._spill.adopt()
            except OSError as error:
                self._warn(f"the spill folder cannot be used ({error})")
        while True:
            lines, is_in_file = self._front()
            if not lines:
                if self._is_closing:
                    return
                with self._tail:
                    if not self._memory and self._spill.is_empty:
                        self._idle.set()
                self._wake.wait()
                self._wake.clear()
                continue
            begun = time.monotonic()
            try:
                self._send(lines)
            except (ServerUnavailable, AccessDenied, RequestRefused) as error:
                if self._is_closing:
                    return
                attempt += 1
                self._most = max(_LEAST, len(lines) // 2)
                self._warn(f"{error}; events wait in a file and are sent when it is back")
                self._rest(resume.wait_s(attempt, getattr(error, "retry_after_s", None)))
                continue
            except Exception:
                _log.exception("sending failed; it is tried again")
                self._rest(1.0)
                continue
            attempt, self._most = 0, min(_BATCH, 2 * self._most)
            self._done(lines, is_in_file, begun)
            self._rest(begun + _PACE_S - time.monotonic())

    def _run_keeper(self) -> None:
        while not self._is_closing:
            self._keeping.wait()
            self._rest(_KEEP_S / 2)
            if self._memory and (time.monotonic() - self._since >= _KEEP_S or not self._spill.is_empty):
                self._keep()
            elif not self._memory:
                self._keeping.clear()
                if self._memory:  # put between the two
                    self._keeping.set()

    def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._is_closing:
            time.sleep(min(left, 0.1))

    def _send(self, lines: list[bytes]) -> None:
        """One request; what the server refuses for good is left out and said, the rest is sent."""
        lines = list(lines)
        while lines:
            try:
                headers = {"Content-Type": "application/x-ndjson"}
                self._http.call("POST", "/api/events", content=b"\n".join(lines), headers=headers)
                return
            except RequestRefused as error:
                if error.status not in (400, 413, 415, 422):
                    raise
                if len(lines) > 1 and error.index is None:  # not said which: halve until it is alone
                    self._send(lines[: len(lines) // 2])
                    lines = lines[len(lines) // 2 :]
                    continue
                index = error.index or 0
                self.lost += 1
                _log.error("playhead: an event was refused and is not sent again: %s; %s", error, lines[index][:500])
                del lines[index]

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


def _in_child() -> None:
    for publisher in list(_open):
        publisher.forget()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_in_child)
