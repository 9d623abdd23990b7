"""
Following a log over the network: WebSocket, else SSE, else polling, and back up again.

A `Subscription` is one task in the shared loop. It resumes from its cursor by the rule in `resume`, so what it gives on
is every event once and in order, whatever happens to the line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from typing import Any, Literal

import httpx
import msgspec
import zstandard
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from playhead.client import loop, resume
from playhead.client.http import Http, raise_for
from playhead.client.status import ConnectionState
from playhead.errors import AccessDenied, CursorGone, PlayheadError, RequestRefused
from playhead.events import Cursor, Event, Filter, now, time_text

OnEvents = Callable[[list[Event], str], None]
OnStatus = Callable[[ConnectionState], None]
Transport = Literal["websocket", "sse", "polling"]
_log = logging.getLogger("playhead.client")
_decode_events = msgspec.json.Decoder(list[Event]).decode
_PROTOCOLS = [Subprotocol("playhead.v1.zstd"), Subprotocol("playhead.v1")]
_UPGRADE_S = 30.0  # a lesser transport tries the better one again after that
_PING_S, _PING_TIMEOUT_S = 2.0, 3.0


class _Message(msgspec.Struct, rename={"start": "from"}):
    op: str
    id: str | None = None
    start: str | None = None
    to: str | None = None
    at: str | None = None
    head: str | None = None
    reason: str | None = None
    oldest: str | None = None
    message: str | None = None
    events: list[Event] = []


_decode = msgspec.json.Decoder(_Message).decode


class _Reset(Exception):
    def __init__(self, oldest: str, reason: str) -> None:
        self.oldest, self.reason = oldest, reason


class _Broken(Exception):
    """The connection is of no more use; ``is_unsuited`` when this transport does not get through at all."""

    def __init__(self, reason: str, *, is_unsuited: bool = False) -> None:
        super().__init__(reason)
        self.is_unsuited = is_unsuited


def wire_filter(where: Filter) -> list[tuple[str, str]]:
    """A filter as query parameters."""
    names = {"execution_id": "executionId", "batch_id": "batchId", "job_id": "jobId", "type": "type"}
    found = [
        (wire, value.replace(",", "\\,")) for name, wire in names.items() for value in getattr(where, name)
    ]
    return found + [(name, time_text(value)) for name in ("since", "until") if (value := getattr(where, name))]


class Subscription:
    """A reader that follows by itself until it is closed. Callbacks run in the client's thread, one at a time."""

    def __init__(
        self, http: Http, where: Filter, after: str, on_events: OnEvents, on_status: OnStatus | None = None,
        on_reset: Callable[[str], None] | None = None, polling_interval: float = 5.0, transport: Transport = "websocket",
    ) -> None:  # fmt: skip
        self._http, self._where, self._after = http, where, after
        self._on_events, self._on_status, self._on_reset = on_events, on_status, on_reset
        self._polling_interval = polling_interval
        self._cursor: Cursor | None = Cursor.parse(after) if after not in ("start", "now") else None
        self._transport: Transport = transport
        self._attempt = 0
        self._lag_ms: float | None = None
        self.error: PlayheadError | None = None
        self.status = ConnectionState("reconnecting", "websocket", 0, now(), "connecting")
        self._done: Future[None] = loop.spawn(self._run())

    @property
    def cursor(self) -> str:
        """The position up to which everything was given on."""
        return str(self._cursor) if self._cursor is not None else self._after

    def close(self) -> None:
        """Stop; again is harmless."""
        self._done.cancel()

    async def _run(self) -> None:
        while True:
            began = time.monotonic()
            try:
                await {"websocket": self._websocket, "sse": self._sse, "polling": self._polling}[self._transport]()
            except _Reset as reset:
                self._cursor = Cursor.parse(reset.oldest)
                if self._on_reset is not None:
                    self._on_reset(reset.reason)
                continue
            except (AccessDenied, RequestRefused) as error:
                if isinstance(error, AccessDenied) or resume.is_fatal(error.status):
                    self.error = error
                    self._tell("disconnected", str(error))
                    return
                reason, is_unsuited = str(error), False
            except _Broken as broken:
                reason, is_unsuited = str(broken), broken.is_unsuited
            except (OSError, httpx.HTTPError, PlayheadError) as error:
                reason, is_unsuited = str(error) or type(error).__name__, False
            except Exception:
                _log.exception("following %s failed; it is tried again", self._http.url)
                reason, is_unsuited = "an unexpected failure, see the log", False
            if time.monotonic() - began > 5:
                self._attempt = 0
            self._attempt += 1
            if is_unsuited:
                self._transport = "sse" if self._transport == "websocket" else "polling"
            elif self._transport != "websocket" and self._attempt > 1:
                self._transport = "websocket"
            is_long = self._attempt > resume.DISCONNECTED_AFTER
            advice = f"{reason}; is the server running? `playhead serve` starts one" if is_long else reason
            self._tell("disconnected" if is_long else "reconnecting", advice)
            await asyncio.sleep(resume.wait_s(self._attempt))

    def _tell(self, state: Literal["connected", "reconnecting", "disconnected"], detail: str = "") -> None:
        if state == "connected":
            self._attempt = 0
        last = self.status
        since = last.since if last.state == state else now()
        self.status = ConnectionState(state, self._transport, self._attempt, since, detail, None, self._lag_ms)
        if self._on_status is not None:
            self._on_status(self.status)

    def _take(self, start: Cursor, to: Cursor, events: list[Event]) -> None:
        verdict = resume.judge(self._cursor, start)
        if verdict == "epoch":
            raise _Reset(f"{start.epoch}:0", "epoch")
        if verdict == "gap":
            raise _Broken(f"a message is missing between {self._cursor} and {start}")
        fresh = resume.unseen(self._cursor, events)
        if fresh:
            self._lag_ms = max(0.0, time.time() - fresh[-1].created_at.timestamp()) * 1000
        cursor = to if self._cursor is None or to.seq > self._cursor.seq else self._cursor
        self._on_events(fresh, str(cursor))
        self._cursor = cursor

    # the transports

    async def _websocket(self) -> None:
        try:
            connecting = connect(
                self._http.websocket_url(), additional_headers=self._http.headers(), subprotocols=_PROTOCOLS,
                compression=None, max_size=None, ping_interval=_PING_S, ping_timeout=_PING_TIMEOUT_S, open_timeout=5,
                close_timeout=1, proxy=None,
            )  # fmt: skip
            async with contextlib.aclosing(_opened(connecting)) as opened:
                async for socket in opened:
                    await self._converse(socket)
        except InvalidStatus as error:
            status = error.response.status_code
            if status in (401, 403):
                raise AccessDenied(self._http.url, "the WebSocket was refused") from error
            raise _Broken(f"the WebSocket was answered with {status}", is_unsuited=status not in (502, 503)) from error
        except InvalidHandshake as error:
            raise _Broken(f"no WebSocket gets through: {error}", is_unsuited=True) from error
        except ConnectionClosed as error:
            code = error.rcvd.code if error.rcvd else 1006
            if code in (4401, 4403, 4408):
                raise AccessDenied(self._http.url, error.rcvd.reason if error.rcvd else "") from error
            raise _Broken(f"the connection ended ({code})") from error
        except TimeoutError as error:
            raise _Broken("the server does not answer") from error

    async def _converse(self, socket: Any) -> None:
        inflate = zstandard.ZstdDecompressor().decompressobj
        where: dict[str, list[str] | str] = {}
        for name, value in wire_filter(self._where):
            if name in ("since", "until"):
                where[name] = value
            else:
                where.setdefault(name, []).append(value.replace("\\,", ","))  # type: ignore[union-attr]  # lists, all but two
        ask = {"op": "subscribe", "id": "s", "filter": where, "after": self.cursor}
        await socket.send(json.dumps(ask))
        async for frame in socket:
            message = _decode(inflate().decompress(frame) if isinstance(frame, bytes) else frame)
            if message.op == "subscribed" and message.start is not None:
                start = Cursor.parse(message.start)
                self._take(start, start, [])
                self._tell("connected")
            elif message.op == "events" and message.start is not None and message.to is not None:
                self._take(Cursor.parse(message.start), Cursor.parse(message.to), message.events)
            elif message.op in ("heartbeat", "caught_up") and message.at is not None and self._cursor is not None:
                at = Cursor.parse(message.at)
                if at.seq > self._cursor.seq:
                    self._take(self._cursor, at, [])
            elif message.op == "reset":
                raise _Reset(message.oldest or "", message.reason or "trimmed")
            elif message.op == "error":
                raise RequestRefused(400, "the subscription was refused", message.message or "")
        raise _Broken("the server closed the connection")

    async def _sse(self) -> None:
        begun = time.monotonic()
        params = wire_filter(self._where)
        headers = self._http.headers() | {"Accept": "text/event-stream"}
        if self._cursor is None:
            params.append(("after", self._after))
        else:
            headers["Last-Event-ID"] = str(self._cursor)
        timeout = httpx.Timeout(20.0, connect=5.0)
        async with httpx.AsyncClient(trust_env=False, timeout=timeout) as client:
            url = f"{self._http.url}/api/events/stream"
            async with client.stream("GET", url, params=httpx.QueryParams(tuple(params)), headers=headers) as response:
                if response.is_error:
                    await response.aread()
                    raise_for(self._http.url, response)
                if "event-stream" not in response.headers.get("content-type", ""):
                    raise _Broken("something between here and the server swallows streams", is_unsuited=True)
                self._tell("connected")
                identity, kind, data = "", "", []
                async for line in response.aiter_lines():
                    name, _, value = line.partition(":")
                    value = value.removeprefix(" ")
                    if name == "id":
                        identity = value
                    elif name == "event":
                        kind = value
                    elif name == "data":
                        data.append(value)
                    elif not name and value.startswith("from ") and self._cursor is None:
                        self._cursor = Cursor.parse(value.removeprefix("from "))
                    elif not line and identity:
                        if kind == "reset":
                            raise _Reset(identity, json.loads("".join(data)).get("reason", "trimmed"))
                        at = Cursor.parse(identity)
                        events = [Event.from_json("\n".join(data))] if data else []
                        self._take(self._cursor or Cursor(at.epoch, at.seq - 1), at, events)
                        kind, data = "", []
                    if time.monotonic() - begun > _UPGRADE_S:
                        self._transport = "websocket"
                        raise _Broken("trying a WebSocket again")
        raise _Broken("the stream ended")

    async def _polling(self) -> None:
        begun = time.monotonic()
        async with httpx.AsyncClient(trust_env=False, timeout=10.0, headers=self._http.headers()) as client:
            while time.monotonic() - begun < _UPGRADE_S:
                page = await self._page(client)
                self._tell("connected", f"polling every {self._polling_interval:g} s")
                if not page:
                    await asyncio.sleep(self._polling_interval)
        self._transport = "websocket"
        raise _Broken("trying a WebSocket again")

    async def _page(self, client: httpx.AsyncClient) -> bool:
        """Read one page; whether there is more at once."""
        params = [*wire_filter(self._where), ("after", self.cursor), ("limit", "1000")]
        response = await client.get(f"{self._http.url}/api/events", params=httpx.QueryParams(tuple(params)))
        try:
            raise_for(self._http.url, response)
        except CursorGone as gone:
            raise _Reset(str(gone.oldest), gone.reason) from None
        body = msgspec.json.decode(response.content)
        events = _decode_events(msgspec.json.encode(body["events"]))
        end = Cursor.parse(body["pagination"]["nextCursor"])
        start = self._cursor or Cursor(end.epoch, 0 if self._after == "start" else end.seq)
        self._take(start, end, events)
        return bool(body["pagination"]["hasMore"])


async def _opened(connecting: Any) -> AsyncGenerator[Any, None]:
    """One connection, no retries of its own: when to try again is decided in one place."""
    socket = await connecting
    try:
        yield socket
    finally:
        await socket.close()
