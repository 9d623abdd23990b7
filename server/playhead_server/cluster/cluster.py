"""`Cluster`: this server as one of those that share a log, for the rest of it: submit, delete, and how it is."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import Any

from playhead.events import Event, NewEvent
from playhead.recording import Appended, Recording
from playhead.times import time_text
from playhead_server.cluster.follower import Follower
from playhead_server.cluster.joining import Joining
from playhead_server.cluster.link import Away, Link
from playhead_server.cluster.log import Log
from playhead_server.cluster.outbox import Outbox
from playhead_server.cluster.publisher import Publisher
from playhead_server.fanout import Fanout
from playhead_server.problems import Problem
from playhead_server.settings import Settings

_DELETE_S = 60.0


class Cluster:
    """A server's part in a log of many servers."""

    def __init__(self, settings: Settings, recording: Recording, url: str) -> None:
        assert settings.redis_url is not None
        self._recording, self._url = recording, settings.advertise or url
        self._links = [Link(settings.redis_url, settings.redis_wait) for _ in range(3)]
        following, publishing, asking = (Log(link, settings.redis_log) for link in self._links)
        self._asking = asking
        self._server = secrets.token_hex(6)
        self._fanout: Fanout | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told: Callable[[], None] = lambda: None
        self._turned: Callable[[], None] = lambda: None
        self._epoch = recording.epoch
        self._publisher = Publisher(
            publishing, recording, Outbox(recording.path / "outbox"), self._server,
            doubts=lambda why: self._follower.doubt(why), tell=self._tell_provisional,
        )  # fmt: skip
        joining = Joining(
            following, recording, self._server, rescue=self._publisher.rescue,
            say=lambda why: self._follower.say(why), is_over=lambda: self._follower.is_over(),
        )  # fmt: skip
        self._follower = Follower(
            following, joining, self._publisher, recording, server=self._server, url=self._url,
            told=lambda why: self._in_loop(self._told), leapt=self._leap, begun=self._begin,
        )  # fmt: skip
        with contextlib.suppress(Away):  # it is joined when it can be reached
            joining.check()

    def __repr__(self) -> str:
        return f"<Cluster {self._links[0]} {self._recording.cursor()}>"

    def start(self, fanout: Fanout, *, told: Callable[[], None], turned: Callable[[], None]) -> None:
        """Begin to follow the log; in the event loop, where it is called back when it is otherwise or of another epoch."""
        self._fanout, self._loop = fanout, asyncio.get_running_loop()
        self._told, self._turned = told, turned
        self._follower.start()

    def close(self) -> None:
        """Take nothing more, keep what was taken; blocks for a moment."""
        self._publisher.stop()
        self._follower.close()
        self._publisher.close()
        for link in self._links:
            link.use(None)

    @property
    def trouble(self) -> str | None:
        """Why this server is on its own at present, for people; None when it is not."""
        return self._follower.trouble

    @property
    def secret(self) -> str:
        """What the other servers say to be given rows; empty before the log was joined."""
        return self._follower.secret

    def submit(self, events: Sequence[NewEvent], organization_id: str | None) -> Future[Appended]:
        """As `Recording.submit`."""
        return self._publisher.submit(events, organization_id)

    def delete_older(self, than: datetime, organization_id: str | None) -> int:
        """
        Have every server delete the events before a time; how many this one did. Blocks.

        Raises:
            Problem: 503 where Redis is away: nothing was deleted.
        """
        try:
            answer = self._asking.control(self._recording.epoch, {"than": time_text(than), "whose": organization_id})
        except Away as away:
            raise Problem(503, f"{away}; nothing was deleted, ask again when it is back", {"Retry-After": "5"}) from away
        if answer[0] != "done":
            raise Problem(503, "the servers are agreeing on the log; nothing was deleted, ask again", {"Retry-After": "5"})
        try:
            return self._follower.deleted(int(answer[1])).result(_DELETE_S)
        except TimeoutError:
            raise Problem(503, "it will be deleted, but this server is far behind", {"Retry-After": "60"}) from None

    def figures(self) -> dict[str, Any]:
        """For ``/api/stats`` and ``/metrics``."""
        return {
            "server": self._server, "isDegraded": self.trouble is not None, "reason": self.trouble,
            "outbox": self._publisher.kept, "head": self._follower.head,
            "lag": max(0, self._follower.head - self._recording.head), "waiting": self._publisher.waiting,
        }  # fmt: skip

    # from the threads

    def _in_loop(self, call: Callable[[], None]) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            with contextlib.suppress(RuntimeError):  # it was closed meanwhile
                loop.call_soon_threadsafe(call)

    def _leap(self, head: int) -> None:
        if (fanout := self._fanout) is not None:
            self._in_loop(lambda: fanout.leap(head))

    def _begin(self, head: int) -> None:
        """The recording may be of another epoch, and shorter, than it was."""
        fanout, is_other = self._fanout, self._recording.epoch != self._epoch
        self._epoch = self._recording.epoch
        if fanout is not None and is_other:

            epoch = self._epoch

            def turn() -> None:
                fanout.turn(epoch, head)
                self._turned()

            self._in_loop(turn)

    def _tell_provisional(self, events: list[Event]) -> None:
        if self._fanout is not None:
            fanout = self._fanout
            self._in_loop(lambda: fanout.tell_provisional(events))
