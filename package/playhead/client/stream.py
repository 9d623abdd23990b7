"""
Following a log over the network for as long as it takes: WebSocket, else SSE, else polling, and back up again.

A `Subscription` is one task in the shared loop. It resumes from its cursor by the rule in `resume`, so what it gives on
is every event once and in order, whatever happens to the line.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future

import httpx

from playhead.client import loop, resume, transports
from playhead.client.follow import OnEvents, OnProvisional, OnReset, OnStatus
from playhead.client.http import Http, why
from playhead.client.status import ConnectionState, State, Transport
from playhead.client.transports import Broken, Heard, Provisional, Reset, Stretch, Told
from playhead.errors import AccessDenied, CursorGone, PlayheadError, RequestRefused
from playhead.events import Cursor, Filter
from playhead.times import now

_log = logging.getLogger("playhead.client")
_PROBE_S, _MOST_PROBE_S = 2.0, 300.0  # a lesser transport looks that often whether a WebSocket gets through
_RESET_S = 0.05


class Subscription:
    """
    A reader that follows by itself until it is closed. Callbacks run in the client's thread, one at a time.

    Attributes:
        is_closed: Whether it was closed; one that ended by an error was not.
    """

    def __init__(
        self, http: Http, where: Filter, after: str, on_events: OnEvents, on_status: OnStatus | None = None,
        on_reset: OnReset | None = None, polling_interval: float = 5.0, transport: Transport = "websocket",
        on_provisional: OnProvisional | None = None,
    ) -> None:  # fmt: skip
        self._http, self._where, self._after = http, where, after
        self._on_events, self._on_status, self._on_reset = on_events, on_status, on_reset
        self._on_provisional = on_provisional
        self._polling_interval = polling_interval
        self._cursor: Cursor | None = Cursor.parse(after) if after not in ("start", "now") else None
        self._transport: Transport = transport
        self._attempt = 0
        self._lag_ms: float | None = None
        self._degraded = ""
        self._head: Cursor | None = None  # the furthest that the server spoke of
        self._may_read = asyncio.Event()
        self._may_read.set()
        self.error: PlayheadError | None = None
        self._state: State = "reconnecting"
        self._since, self._detail = now(), "connecting"
        self.is_closed = False  # before there is a task, which may have connected before `spawn` returns
        self._done: Future[None] = loop.spawn(self._run())

    @property
    def cursor(self) -> str:
        """The position up to which everything was given on."""
        return str(self._cursor) if self._cursor is not None else self._after

    @property
    def status(self) -> ConnectionState:
        """How it is connected."""
        state: State
        state, detail = ("disconnected", "closed") if self.is_closed else (self._state, self._detail)
        lag_events: int | None = None
        if self._head is not None and self._cursor is not None and self._head.epoch == self._cursor.epoch:
            lag_events = max(0, self._head.seq - self._cursor.seq)
        return ConnectionState(
            state, self._transport, self._attempt, self._since, detail, self._lag_ms, lag_events, self._degraded
        )

    def when_over(self, callback: Callable[[], None]) -> None:
        """Call back once it is closed or has ended by an error."""
        self._done.add_done_callback(lambda _: callback())

    def pause(self) -> None:
        """Read no further until `resume`; nothing is lost, the server is asked again from the cursor if it must be."""
        self._may_read.clear()  # a flag, so at once from any thread; only waking needs the loop

    def resume(self) -> None:
        """Read on."""
        loop.shared().call_soon_threadsafe(self._may_read.set)

    def close(self) -> None:
        """Stop; again is harmless."""
        self.is_closed = not self._done.done() or self.is_closed
        self._done.cancel()

    async def _run(self) -> None:
        while True:
            told_s: float | None = None
            is_unsuited: bool | None = False
            try:
                await self._read_or_climb()
                continue
            except Reset as reset:
                if self._on_reset is None:
                    self.error = CursorGone(self._cursor or reset.oldest, reset.oldest, reset.reason)
                    self._tell("disconnected", str(self.error))
                    return
                self._cursor = reset.oldest
                self._on_reset(reset.reason)
                await asyncio.sleep(_RESET_S)
                continue
            except (AccessDenied, RequestRefused) as error:
                if isinstance(error, AccessDenied) or resume.is_fatal(error.status):
                    self.error = error
                    self._tell("disconnected", str(error))
                    return
                reason, told_s = str(error), error.retry_after_s
            except Broken as broken:
                reason, is_unsuited = str(broken), broken.is_unsuited
            except (OSError, httpx.HTTPError) as error:
                reason = why(error)
            except PlayheadError as error:
                reason = str(error)
            except asyncio.CancelledError:
                self._tell("disconnected", "closed")
                raise
            except Exception:
                _log.exception("following %s failed; it is tried again", self._http.url)
                reason = "an unexpected failure, see the log"
            self._attempt += 1
            self._transport = resume.next_transport(self._transport, self._attempt, is_unsuited=is_unsuited)
            is_long = self._attempt > resume.DISCONNECTED_AFTER
            advice = f"{reason}; is the server running? `playhead serve` starts one" if is_long else reason
            self._tell("disconnected" if is_long else "reconnecting", advice)
            await asyncio.sleep(resume.wait_s(self._attempt, told_s))

    async def _read_or_climb(self) -> None:
        """Read by the present transport; ends when a WebSocket was found to get through instead."""
        if self._transport == "websocket":
            await self._read()
            return
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._probe())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
        self._transport = "websocket"

    async def _probe(self) -> None:
        """Return once a WebSocket opens."""
        wait_s = _PROBE_S
        while True:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _MOST_PROBE_S)
            with contextlib.suppress(OSError, PlayheadError, Broken):
                await (await transports.opened(self._http)).close()
                return

    async def _read(self) -> None:
        told = ""
        self._degraded = ""  # another server may be well
        async with contextlib.aclosing(self._stretches()) as stretches:
            async for heard in stretches:
                if isinstance(heard, Told):
                    self._degraded = heard.degraded
                    self._tell(self._state, self._detail)
                    continue
                if isinstance(heard, Provisional):
                    if self._on_provisional is not None:
                        self._on_provisional(heard.events)
                    continue
                self._take(heard)
                if self._state != "connected" or told != self._transport:
                    told = self._transport
                    detail = f"polling every {self._polling_interval:g} s" if self._transport == "polling" else ""
                    self._tell("connected", detail)
                await self._may_read.wait()

    def _stretches(self) -> AsyncGenerator[Heard]:
        asked = self._http, self._where, self.cursor
        if self._transport == "websocket":
            return transports.websocket(*asked)
        if self._transport == "sse":
            return transports.sse(*asked)
        return transports.polling(*asked, self._polling_interval)

    def _take(self, stretch: Stretch) -> None:
        start = stretch.start or self._cursor
        verdict = resume.judge(self._cursor, start or stretch.to)
        if verdict == "epoch":
            raise Reset(Cursor(stretch.to.epoch, 0), "epoch")
        if verdict == "gap":
            raise Broken(f"a message is missing between {self._cursor} and {start}")
        fresh = resume.unseen(self._cursor, stretch.events)
        if fresh:
            self._lag_ms = max(0.0, time.time() - fresh[-1].created_at.timestamp()) * 1000
        known = (stretch.to, stretch.head, self._head)
        self._head = max(one for one in known if one is not None and one.epoch == stretch.to.epoch)
        is_further = self._cursor is None or stretch.to.seq > self._cursor.seq
        cursor = stretch.to if self._cursor is None or is_further else self._cursor
        if fresh or is_further:
            self._on_events(fresh, str(cursor))
        self._cursor = cursor

    def _tell(self, state: State, detail: str = "") -> None:
        if state == "connected":
            self._attempt = 0
        if self._state != state:
            self._since = now()
        self._state, self._detail = state, detail
        if self._on_status is not None:
            self._on_status(self.status)
