"""
Publishing from a job: it never waits for the server, and never raises into the job because of it.

A `Publisher` opens a `_Session` with its first event, and the next one after `close` or in a forked child. A session's
events are one queue in two parts: the front in a file (only when the server is slow or away), the rest in memory. One
thread sends from the front, in order, one request at a time, so that what comes meanwhile goes into the next one. A
second one moves what has waited for half a second into the file, from where the next process sends it if this one is
killed. ``id`` makes each event exactly once.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import weakref
from collections import deque

from playhead.client import resume
from playhead.client.http import Http
from playhead.client.spill import Spill, wire
from playhead.errors import AccessDenied, RequestRefused, ServerUnavailable
from playhead.events import NewEvent

_log = logging.getLogger("playhead.publisher")
_BATCH, _BATCH_BYTES = 1000, 4 * 2**20
_LEAST = 10  # a request that a bad line cuts is tried again with half the events, down to so many
_PACE_S = 0.004  # from one request's start to the next: at once when idle, coalesced under load
_KEEP_S = 0.5
_MOST_IN_MEMORY = 20_000  # then they go to the file at once
_MOST_WITHOUT_FILE = 200_000  # when the file cannot be written either
_EXIT_S = 5.0
_publishers: weakref.WeakSet[Publisher] = weakref.WeakSet()
_sessions: set[_Session] = set()  # open ones; they outlive a client that nobody holds any more


class Publisher:
    """Sends events to one server in the order they were given."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self._session: _Session | None = None
        self._opening = threading.Lock()
        _publishers.add(self)

    def put(self, event: NewEvent) -> None:
        """Take an event; returns at once."""
        while not (self._session or self._begin()).put(event):  # it was closed in between
            pass

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything is with the server; False when the time is over first."""
        session = self._session
        return session is None or session.idle.wait(timeout)

    def close(self, timeout: float = _EXIT_S) -> None:
        """Send what is left for at most ``timeout`` seconds; the rest stays in the file. Again is harmless."""
        with self._opening:
            session, self._session = self._session, None
        if session is not None:
            session.close(timeout)

    @property
    def in_memory(self) -> int:
        """Events that are neither with the server nor in the file."""
        return len(self._session.memory) if self._session is not None else 0

    @property
    def taken(self) -> int:
        """Events that the server took since the first was put, what an earlier process had left for it included."""
        return self._session.taken if self._session is not None else 0

    @property
    def lost(self) -> int:
        """Events that will never arrive: the server refused them for good, or there was no room to keep them."""
        return self._session.refused + self._session.dropped if self._session is not None else 0

    def _begin(self) -> _Session:
        with self._opening:
            if self._session is None:
                self._session = _Session(self._http)
                _close_with_this_worker()
            return self._session

    def forget(self) -> None:
        """In a forked child: what the parent queued, the parent sends."""
        self._session, self._opening = None, threading.Lock()


class _Session:
    """The queue and the threads between the first event and `close`."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self.memory: deque[NewEvent | bytes] = deque()
        self.spill = Spill(http.url)
        self.idle = threading.Event()
        self._since = 0.0  # no event in memory was put before that
        self._most = _BATCH
        self.taken = self.refused = self.dropped = 0
        self._warned = -1e9
        self._is_closing = self._is_over = False
        self._tail = threading.Lock()  # of the memory's end; never held for long, so `put` returns at once
        self._guard = threading.Lock()  # of the memory's front and of the file
        self._wake, self._keeping, self._end = threading.Event(), threading.Event(), threading.Event()
        works = {"playhead-publisher": self._run, "playhead-keeper": self._run_keeper}
        self._threads = [threading.Thread(target=work, name=name, daemon=True) for name, work in works.items()]
        for thread in self._threads:
            thread.start()
        _sessions.add(self)

    def put(self, event: NewEvent) -> bool:
        """Take an event; False when the session is closed."""
        with self._tail:
            if self._is_closing:
                return False
            if not self.memory:
                self._since = time.monotonic()
            self.memory.append(event)
            if self.idle.is_set():
                self.idle.clear()
        if not self._wake.is_set():
            self._wake.set()
        if not self._keeping.is_set():
            self._keeping.set()
        if len(self.memory) > _MOST_IN_MEMORY:
            self._keep()
        return True

    def close(self, timeout: float) -> None:
        """Take nothing more, wait, and leave the rest in the file."""
        with self._tail:
            self._is_closing = True
        self._wake.set()
        is_all_sent = self.idle.wait(timeout)
        self._keep()
        with self._guard:
            self._is_over = True
            self.spill.release()
        for event in (self._end, self._wake, self._keeping):
            event.set()
        for thread in self._threads:
            thread.join(_EXIT_S if is_all_sent else 0.5)  # a request that hangs is not waited for
        _sessions.discard(self)

    # the front of the queue

    def _front(self) -> tuple[list[bytes], bool]:
        """The next batch as it goes over the wire, and whether it is in the file."""
        with self._guard:
            lines = self.spill.front(self._most, _BATCH_BYTES)
            if lines:
                return lines, True
            size = 0
            for place in range(min(self._most, len(self.memory))):
                item = self.memory[place]
                line = item if isinstance(item, bytes) else wire(item)
                size += len(line)
                if place and size > _BATCH_BYTES:
                    break
                lines.append(line)
            return lines, False

    def _done(self, lines: list[bytes], was_in_file: bool, begun: float) -> None:
        """These, sent at ``begun``, are with the server."""
        with self._guard:
            if self._is_over:
                return  # what was kept is sent again; its ids make that harmless
            if was_in_file or not self.spill.is_empty:  # moved there while they were on their way
                self.spill.drop(lines)
            else:
                for _ in lines:
                    self.memory.popleft()
                self._since = begun

    def _keep(self) -> None:
        """Move the memory into the file."""
        with self._guard:
            items = [self.memory.popleft() for _ in range(len(self.memory))]
            if not items or self._is_over:
                return
            try:
                self.spill.append([item if isinstance(item, bytes) else wire(item) for item in items])
            except OSError as error:
                self.dropped += max(0, len(items) - _MOST_WITHOUT_FILE)
                self.memory.extendleft(reversed(items[:_MOST_WITHOUT_FILE]))
                more = f"; {self.dropped:,} were dropped for want of room" if self.dropped else ""
                self._warn(f"events wait in memory, the spill file cannot be written ({error}){more}")

    # the threads

    def _run(self) -> None:
        attempt = 0
        with self._guard:
            try:
                self.spill.adopt()
            except OSError as error:
                self._warn(f"the spill folder cannot be used ({error})")
        while not self._is_over:
            lines, is_in_file = self._front()
            if not lines:
                with self._tail:
                    if not self.memory and self.spill.is_empty:
                        self.idle.set()
                self._wake.wait()
                self._wake.clear()
                continue
            begun = time.monotonic()
            try:
                refused = self._send(lines)
            except (ServerUnavailable, AccessDenied, RequestRefused) as error:
                attempt += 1
                self._most = max(_LEAST, len(lines) // 2)
                self._warn(f"{error}; events wait in a file and are sent when it is back")
                self._end.wait(resume.wait_s(attempt, getattr(error, "retry_after_s", None)))
                continue
            except Exception:
                _log.exception("sending failed; it is tried again")
                self._end.wait(1.0)
                continue
            attempt, self._most = 0, min(_BATCH, 2 * self._most)
            self.taken, self.refused = self.taken + len(lines) - refused, self.refused + refused
            self._done(lines, is_in_file, begun)
            self._end.wait(max(0.0, begun + _PACE_S - time.monotonic()))

    def _run_keeper(self) -> None:
        while not self._is_over:
            self._keeping.wait()
            self._end.wait(_KEEP_S / 2)
            if self.memory and (time.monotonic() - self._since >= _KEEP_S or not self.spill.is_empty):
                self._keep()
            elif not self.memory:
                self._keeping.clear()
                if self.memory:  # put between the two
                    self._keeping.set()

    def _send(self, lines: list[bytes]) -> int:
        """One request; what the server refuses for good is left out and said, the rest is sent. How many were refused."""
        lines, refused = list(lines), 0
        while lines and not self._is_over:
            try:
                headers = {"Content-Type": "application/x-ndjson"}
                self._http.call("POST", "/api/events", content=b"\n".join(lines), headers=headers)
                return refused
            except RequestRefused as error:
                if error.status not in (400, 413, 415, 422):
                    raise
                if len(lines) > 1 and error.index is None:  # not said which: halve until it is alone
                    refused += self._send(lines[: len(lines) // 2])
                    lines = lines[len(lines) // 2 :]
                    continue
                index = error.index or 0
                _log.error("playhead: an event was refused and is not sent again: %s; %s", error, lines[index][:500])
                del lines[index]
                refused += 1
        return refused

    def _warn(self, text: str) -> None:
        """Into the log, at most once a minute."""
        if time.monotonic() - self._warned > 60:
            self._warned = time.monotonic()
            _log.warning("playhead: %s", text)


def _at_exit() -> None:
    end = time.monotonic() + _EXIT_S
    for session in list(_sessions):
        session.close(max(0.1, end - time.monotonic()))


def _close_with_this_worker() -> None:
    """A worker of `multiprocessing` ends without atexit, but not without its own finalizers."""
    if "multiprocessing.process" in sys.modules:
        from multiprocessing import parent_process, util

        if parent_process() is not None:
            util.Finalize(None, _at_exit, exitpriority=10)


def _in_child() -> None:
    for publisher in list(_publishers):
        publisher.forget()
    for session in list(_sessions):
        session.spill.release()
    _sessions.clear()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_in_child)
