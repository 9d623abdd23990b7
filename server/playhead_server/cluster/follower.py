"""
The thread that keeps a recording and the log together: it joins, applies what comes, sends what was kept, and says how it is.

Whatever goes wrong, it begins again with joining, which looks at what there is and takes nothing for granted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from playhead.errors import RecordingFull
from playhead.recording import Recording
from playhead.recording.stored import Stored
from playhead.times import parse_time
from playhead_server.cluster import peers
from playhead_server.cluster.joining import ForeignLog, Joining, LostEnd
from playhead_server.cluster.link import Away
from playhead_server.cluster.log import About, Entry, Log
from playhead_server.cluster.publisher import Publisher

_BLOCK_MS = 300
_BEAT_S = 1.0
_AT_ONCE = 100  # entries
_COMMIT_BYTES = 2 * 2**20  # a half of what the journal takes
_IN_STEP = 5_000  # events behind the log's end that do not count as behind
_DRAIN_S = 0.05
_AGAIN_S, _MOST_AGAIN_S = 0.05, 1.0
_MISSING_S = 10.0  # how long a server that holds what is missing is looked for, where none is known
_PATIENCE_S = 60.0  # and where one is known that does not answer
_PAUSE_S = 0.2
_REMEMBERED = 1_000  # deletions whose counts may still be asked for
_log = logging.getLogger("playhead.cluster")


class _Rejoin(Exception):
    """What was read does not follow on what there is."""


class Follower:
    """
    The thread; ``told`` is called with how it is whenever that changes, ``leapt`` when the recording has more than was
    announced, ``begun`` when it may be of another epoch; both with its head.

    Attributes:
        trouble: Why this server is on its own; None when all is well.
        head: Where the log ends, as far as is known.
        secret: What another server must know to be given rows.
    """

    def __init__(
        self, log: Log, joining: Joining, publisher: Publisher, recording: Recording, *, server: str, url: str,
        told: Callable[[str | None], None], leapt: Callable[[int], None], begun: Callable[[int], None],
    ) -> None:  # fmt: skip
        self._log, self._joining, self._publisher, self._recording = log, joining, publisher, recording
        self._replica = recording.replica()
        self._server, self._url = server, url
        self._told, self._leapt, self._begun = told, leapt, begun
        self.trouble: str | None = "Redis was not reached yet"
        self.head, self.secret = recording.head, ""
        self._is_over, self._doubt = threading.Event(), threading.Event()
        self._why = ""
        self._lack: str | None = None
        self._asked = threading.Lock()  # of who waits for a deletion, and of those that were
        self._waiting: dict[int, Future[int]] = {}
        self._deleted: dict[int, int] = {}
        self._position = ""
        self._about: About
        self._beat_at = self._told_at = 0.0
        self._thread = threading.Thread(target=self._run, name="playhead-follower", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End it, and let the others go on without this server."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()

    def is_over(self) -> bool:
        """Whether it is to end."""
        return self._is_over.is_set()

    def doubt(self, why: str) -> None:
        """Somebody saw that the log cannot be relied on."""
        self._why = why
        self._doubt.set()

    def deleted(self, number: int) -> Future[int]:
        """How many events a deletion took here, once it was this server's turn."""
        done: Future[int] = Future()
        with self._asked:
            if number in self._deleted:  # it was quicker
                done.set_result(self._deleted[number])
            else:
                self._waiting[number] = done
        return done

    # the thread

    def _run(self) -> None:
        wait_s = _AGAIN_S
        while not self.is_over():
            self._doubt.clear()
            try:
                self._publisher.open()
                self._log.dial()()
                about = self._joining.join()
                self._catch_up(about)
                wait_s = _AGAIN_S
                self._follow()
                continue
            except _Rejoin as again:
                _log.info("%s; the log is joined again", again)
            except (ForeignLog, LostEnd) as error:
                self.say(str(error))
                wait_s = _MOST_AGAIN_S
            except (Away, RecordingFull, OSError) as error:
                self._later(str(error), wait_s)
            except Exception:
                _log.exception("following the log failed; it is tried again")
                self.say("an unexpected failure, see the server's log")
            self._publisher.hold()
            self._is_over.wait(wait_s)
            wait_s = min(2 * wait_s, _MOST_AGAIN_S)

    def _later(self, why: str, wait_s: float) -> None:
        """Say what is wrong, unless it may be over in a moment."""
        if wait_s > _AGAIN_S:
            self.say(why)

    def say(self, why: str | None) -> None:
        """How this server is from now on."""
        is_progress = bool(why and self.trouble) and time.monotonic() < self._told_at + _BEAT_S
        if why != self.trouble and not is_progress:
            self._told_at = time.monotonic()
            if why is None or self.trouble is None:
                _log.warning("%s", f"on its own: {why}" if why else "with the others")
            self.trouble = why
            self._told(why)

    def _catch_up(self, about: About) -> None:
        """Have what the stream does not hold any more, or know that nobody has it."""
        recording, memory = self._recording, self._joining.memory
        self.secret, self.head, self._about = about.secret, about.head, about
        self._begun(recording.head)
        missed = [said for said in self._log.controls() if said["n"] > memory.controls and said["behind"] < about.first]
        for said in missed:
            self._delete(said)
        if self._log.lacks() is None:
            self._publisher.go(about.epoch)
        since = time.monotonic()
        while recording.head + 1 < about.first:
            before = recording.head
            self.say(f"catching up: {before:,} of {about.head:,} events are here")
            self._beat(is_due=True)
            others = self._log.peers(self._server)
            is_all = peers.catch_up(
                recording, self._replica, others, about.secret, about.first - 1, self._is_past(_BEAT_S),
                is_patient=time.monotonic() < since + _PATIENCE_S,
            )  # fmt: skip
            if recording.head > before:
                self._leapt(recording.head)
                since = time.monotonic()
            if self.is_over():
                raise _Rejoin("it ends")
            if is_all or recording.head > before:
                continue
            holder = next((peer.url for peer in others if peer.at > before), None)
            if holder is not None and time.monotonic() < since + _PATIENCE_S:
                self.say(f"events from {before + 1:,} on are with {holder}, which does not answer (--advertise names its url)")
            elif time.monotonic() - since > _MISSING_S:
                _log.error("events %d to %d are held by no server", before + 1, about.first - 1)
                self._replica.begin_at(about.first)
                self._leapt(recording.head)
            self._is_over.wait(_PAUSE_S)
        for said in missed:  # who was copied from may have been about it
            self._delete(said)
        self._joining.whole()
        self._position = f"{recording.head}-0"

    def _is_past(self, seconds: float) -> Callable[[], bool]:
        end = time.monotonic() + seconds
        return lambda: self.is_over() or time.monotonic() > end

    def _follow(self) -> None:
        """Apply what comes until something is wrong."""
        self._joining.tag = self._joining.tag if self._recording.head else ""
        while not self.is_over():
            if self._doubt.is_set():
                raise Away(self._why)
            is_draining = self._publisher.kept and self._publisher.is_going
            entries = self._log.read(self._position, _AT_ONCE, 1 if is_draining else _BLOCK_MS)
            self._apply(entries)
            self._beat()
            is_in_step = self.head - self._recording.head < _IN_STEP
            self._publisher.applied(self._recording.head, is_in_step=is_in_step)
            if is_in_step or len(entries) < _AT_ONCE:
                self._drain()
                if not self._publisher.is_going:
                    self.say(self._lack)
                elif self._publisher.is_settled or (not self._publisher.kept and self.trouble is None):
                    self.say(None)
                elif self._publisher.kept:
                    self.say("what was kept while Redis was away is being sent")
            else:
                self.say(f"catching up: {self._recording.head:,} of {self.head:,} events are here")

    def _drain(self) -> None:
        end = time.monotonic() + _DRAIN_S
        while self._publisher.drain() and time.monotonic() < end and not self.is_over():
            pass

    def _beat(self, *, is_due: bool = False) -> None:
        if time.monotonic() < self._beat_at and not is_due:
            return
        self._beat_at = time.monotonic() + _BEAT_S
        recording = self._recording
        answer = self._log.beat(epoch=recording.epoch, server=self._server, at=recording.head, url=self._url)
        if answer[0] != "ok":
            raise _Rejoin("Redis has another log than it had, or less of it")
        self.head = max(int(answer[1]), recording.head)
        self._lack = self._log.lacks()
        if self._lack is not None and self._publisher.is_going:
            self._publisher.hold()
        elif self._lack is None and not self._publisher.is_going and not self._doubt.is_set():
            self._publisher.go(recording.epoch)

    def _apply(self, entries: list[Entry]) -> None:
        many: list[Stored] = []
        size, head = 0, self._recording.head
        for entry in entries:
            if not self._is_ours(entry):
                self._store(many)
                raise _Rejoin("another epoch has begun")
            if entry.stored is not None and entry.stored.last > head:
                stored = entry.stored.behind(head)
                if stored.first != head + 1:
                    self._store(many)
                    raise _Rejoin(f"events {head + 1} to {stored.first - 1} are not in the stream any more")
                if many and size + len(stored.text) > _COMMIT_BYTES:
                    self._store(many)
                    many, size = [], 0
                many.append(stored)
                size, head = size + len(stored.text), stored.last
                self.head = max(self.head, head)
            elif entry.control is not None and entry.control["n"] > self._joining.memory.controls:
                self._store(many)
                many, size = [], 0
                self._delete(entry.control)
        self._store(many)
        if entries:
            self._position = entries[-1].position
            newest = next((entry for entry in reversed(entries) if entry.stored is not None), None)
            if newest is not None:
                self._joining.tag = newest.tag

    def _store(self, many: list[Stored]) -> None:
        if many:
            self._replica.store(many)
            self._publisher.applied(self._recording.head, is_in_step=self.head - self._recording.head < _IN_STEP)

    def _is_ours(self, entry: Entry) -> bool:
        """Whether an entry is of this epoch, or of an earlier one where that was the same log."""
        last = int(entry.position.partition("-")[0])
        return entry.epoch == self._recording.epoch or self._about.lineage.get(entry.epoch, -1) >= last

    def _delete(self, said: dict[str, Any]) -> None:
        """Delete what every server is to delete at this place of the log, which may take long: requests do not wait for it."""
        than, gone = parse_time(said["than"], "than"), None
        self._publisher.applied(self._recording.head, is_in_step=False)
        with ThreadPoolExecutor(1, "playhead-delete") as beside:
            deleting = beside.submit(self._replica.delete, than, said.get("whose"), said["behind"])
            while not wait([deleting], _BEAT_S).done:
                try:
                    self._beat()
                except (_Rejoin, Away) as error:
                    gone = error
        count = deleting.result()
        self._joining.memory.did(said)
        with self._asked:
            self._deleted = dict([*self._deleted.items(), (said["n"], count)][-_REMEMBERED:])
            if (waiting := self._waiting.pop(said["n"], None)) is not None:
                waiting.set_result(count)
        if gone is not None:
            raise gone
