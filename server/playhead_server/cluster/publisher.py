"""
Taking events in for a log of many servers: a request's events get their seqs from Redis, or are kept until it is back.

A request is acknowledged when Redis has its events and this server's recording too; while Redis is away, when the outbox
has them. From the first doubt on (a connection that broke) everything goes to the outbox, in order, until the follower has
seen what became of the log, and the outbox is empty. Nothing is tried again blindly: what may have arrived is looked for by
its ids.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from itertools import groupby, islice
from typing import NamedTuple

import msgspec

from playhead.errors import RecordingFull
from playhead.events import Event, NewEvent
from playhead.recording import Appended, Recording
from playhead.recording.requests import Request, Requests
from playhead.recording.stored import Stored
from playhead.recording.writer import Sifted
from playhead_server.cluster.link import Away
from playhead_server.cluster.log import Log
from playhead_server.cluster.outbox import Outbox

_AT_ONCE = 2_000  # events of the outbox that are sent together
_RESCUED = 1_000
_MOST_UNREAD = 200_000  # events that may wait to be read back
_log = logging.getLogger("playhead.cluster")


class _Sent(NamedTuple):
    """Events that Redis has and this server's recording only when it has read up to ``last``, and who is told, or was."""

    stored: Stored
    last: int
    group: Sequence[Request]
    answers: Sequence[Appended]


class _Behind(Exception):
    """This server has read too little of the log to be told whether events are new."""


class Publisher:
    """The way of requests into the log; ``doubts`` is called with why when that can no longer be relied on."""

    def __init__(
        self, log: Log, recording: Recording, outbox: Outbox, server: str, *, doubts: Callable[[str], None],
        tell: Callable[[list[Event]], None],
    ) -> None:  # fmt: skip
        self._log, self._recording, self._replica, self._outbox = log, recording, recording.replica(), outbox
        self._rescued = Outbox(recording.path / "rescued")  # older than what is in the outbox, so it goes before
        self._server, self._doubts, self._tell = server, doubts, tell
        self._sending = threading.Lock()  # of Redis, and of what is looked up for it
        self._state = threading.Lock()  # of what follows; never held while anything is waited for
        self._sent: deque[_Sent] = deque()
        self._unread, self._told = 0, 0  # its events, and how many of the requests at its front were answered already
        self._epoch: str | None = None  # of the log that events may be sent to; None while there is a doubt
        self._is_in_step = False
        self._number = 0
        self._draining: tuple[Outbox, int, int] | None = None  # what was sent of it, and the seq up to which to read it back
        self._seen = 0
        self._requests = Requests(str(recording.path), self._store, "playhead-publisher")

    def submit(self, events: Sequence[NewEvent], organization_id: str | None) -> Future[Appended]:
        """As `Recording.submit`."""
        return self._requests.submit(events, organization_id)

    @property
    def is_going(self) -> bool:
        """Whether events are sent."""
        return self._epoch is not None

    @property
    def is_settled(self) -> bool:
        """Whether nothing is kept, and the recording has all that was sent."""
        return not self._sent and self._outbox.is_empty and self._rescued.is_empty

    @property
    def kept(self) -> int:
        """Events that wait for Redis."""
        return self._outbox.events + self._rescued.events

    @property
    def waiting(self) -> int:
        """Events that were submitted and are neither in Redis nor in the outbox."""
        return self._requests.waiting

    def stop(self) -> None:
        """Take nothing more, and have what was submitted kept or sent."""
        self._requests.close()

    def close(self) -> None:
        """Close the files; what is in them stays there. Only once nobody uses this any more."""
        self.hold()
        self._outbox.close()
        self._rescued.close()

    # told by the follower

    def open(self) -> None:
        """Connect to Redis anew, and stay with that one; raises Away."""
        use = self._log.dial()  # which may take long: meanwhile requests go to the outbox
        with self._sending:
            use()

    def go(self, epoch: str) -> None:
        """The log is whole, this recording a part of it: send what was kept, and from then on what comes."""
        with self._state:
            self._epoch, self._seen = epoch, self._recording.head

    def hold(self) -> None:
        """Send nothing; what Redis has and this recording has not is kept, as it may be lost."""
        with self._sending:
            self._hold()

    def applied(self, head: int, *, is_in_step: bool) -> None:
        """The recording has the log up to a seq; whether that is where the log ends, or nearly."""
        with self._state:
            self._is_in_step = is_in_step
            done = [] if is_in_step else list(islice(self._sent, self._told, None))
            self._told = self._told if is_in_step else len(self._sent)
            while self._sent and self._sent[0].last <= head:
                one = self._sent.popleft()
                self._unread -= len(one.stored.news)
                if self._told:
                    self._told -= 1
                else:
                    done.append(one)
        for one in done:
            _answer(one.group, one.answers)

    def rescue(self, events: Iterable[Event]) -> None:
        """Keep events that were in this recording and are not in the log; raises OSError."""
        few: list[Event] = []
        for event in events:
            few.append(event)
            if len(few) == _RESCUED:
                self._rescued.append(Stored.again(few))
                few = []
        if few:
            self._rescued.append(Stored.again(few))

    def drain(self) -> bool:
        """
        Send the oldest of what was kept, once the recording has what was sent before; whether there may be more.

        Raises:
            Away: it is not known whether they arrived; they stay where they are.
        """
        with self._sending:
            if self._draining is not None:
                box, records, last = self._draining
                if self._recording.head < last:
                    return False
                box.drop(records)
                self._draining = None
            epoch, box = self._epoch, self._outbox if self._rescued.is_empty else self._rescued
            if epoch is None or box.is_empty:
                return False
            kept = box.front(_AT_ONCE)
            group = [request for one in kept for request in _requests(one)]
            checked = self._recording.head
            sifted = self._replica.sift(group, trusts_ids=False)
            try:
                self._draining = box, len(kept), self._send(epoch, sifted, checked, created=kept[-1]).last
            except _Behind:
                return False
            return self._recording.head >= self._draining[2]

    # the requests' thread

    def _store(self, group: list[Request]) -> None:
        try:
            with self._sending:
                epoch, checked = self._epoch, self._recording.head
                sifted = self._replica.sift(group)
                if epoch is not None and self._outbox.is_empty and self._rescued.is_empty:
                    try:
                        sent = self._send(epoch, sifted, checked)
                    except _Behind:
                        pass
                    except Away as away:
                        self._hold()
                        self._doubts(str(away))
                    else:
                        self._await(sent._replace(group=group))
                        return
                self._keep(group, sifted)
        except Exception as error:
            if not isinstance(error, RecordingFull):
                _log.exception("events could not be taken in")
                error = RecordingFull(str(self._recording.path), str(error).partition("\n")[0])
            for request in group:
                with contextlib.suppress(InvalidStateError):
                    request.done.set_exception(error)

    def _send(self, epoch: str, sifted: Sifted, checked: int, *, created: Stored | None = None) -> _Sent:
        """Have Redis number the events of some requests that it has not; raises Away and _Behind."""
        if self._unread > _MOST_UNREAD:
            raise _Behind
        looks = created is not None or not all(new.fresh_id for new in sifted.news)
        self._number += 1
        last = checked
        while sifted.news:
            stored = sifted.stored(0, self._recording.retention_s)
            if created is not None:
                stored = stored._replace(created=created.created, expires=created.expires)
            answer = self._log.append(
                stored, epoch=epoch, server=self._server, number=self._number, seen=self._seen, checked=checked, looks=looks
            )
            if answer[0] == "done":
                first, last = answer[1:]
                with self._state:
                    self._seen = max(self._seen, last)
                answers = sifted.answers(first, self._recording.cursor(last))
                return _Sent(stored._replace(first=first), last, (), answers)
            if answer[0] == "behind":
                raise _Behind
            if answer[0] != "known":
                raise Away(_REFUSED[answer[0]])
            last = max(last, int(answer[1]))  # somewhere up to there they are
            sifted = sifted.without(answer[2:])
        nothing = sifted.stored(0, self._recording.retention_s)
        return _Sent(nothing, last, (), sifted.answers(0, self._recording.cursor(max(self._seen, last))))

    def _await(self, sent: _Sent) -> None:
        """Answer once the recording has it, or at once while it is far behind."""
        with self._state:
            is_read = self._recording.head >= sent.last
            is_waiting = not is_read and self._is_in_step
            if not is_read:
                self._sent.append(sent)
                self._unread += len(sent.stored.news)
                self._told = self._told if is_waiting else len(self._sent)
        if not is_waiting:
            _answer(sent.group, sent.answers)

    def _hold(self) -> None:
        with self._state:
            self._epoch, self._is_in_step, self._draining = None, False, None
            sent, self._sent, self._unread, self._told = self._sent, deque(), 0, 0
        for one in sent:
            self._finish(one)

    def _keep(self, group: Sequence[Request], sifted: Sifted) -> None:
        """Have the outbox keep the events of some requests."""
        stored = sifted.stored(0, self._recording.retention_s)
        is_kept = self._finish(_Sent(stored, 0, group, sifted.answers(0, self._recording.cursor())))
        if stored.news and is_kept:
            self._tell([msgspec.structs.replace(event, seq=0) for event in stored.events()])

    def _finish(self, sent: _Sent) -> bool:
        """Have the outbox keep it, and say so to who waits still; whether it does."""
        try:
            if sent.stored.news:
                self._outbox.append(sent.stored)
        except OSError as error:
            full = RecordingFull(str(self._recording.path), error.strerror or str(error))
            for request in sent.group:
                with contextlib.suppress(InvalidStateError):
                    request.done.set_exception(full)
            return False
        _answer(sent.group, [_provisional(one) for one in sent.answers])
        return True


_REFUSED = {
    "lost": "Redis has less of the log than it had",
    "epoch": "the log has begun another epoch",
    "late": "a request to Redis was overtaken by a later one",
}


def _answer(group: Sequence[Request], answers: Sequence[Appended]) -> None:
    """Tell who was not told yet; several threads may."""
    for request, answer in zip(group, answers, strict=True):
        with contextlib.suppress(InvalidStateError):
            request.done.set_result(answer)


def _provisional(answer: Appended) -> Appended:
    if answer.first_seq is None:
        return answer
    return answer._replace(first_seq=None, last_seq=None, is_provisional=True)


def _requests(stored: Stored) -> list[Request]:
    """Events of the outbox as requests, one for each run of one owner."""
    found, place = [], 0
    for owner, run in groupby(stored.organizations):
        count = len(list(run))
        found.append(Request(stored.news[place : place + count], owner, Future()))
        place += count
    return found

