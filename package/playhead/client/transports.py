"""
The three ways a log is followed over the network: WebSocket, Server-Sent Events, polling.

Each is an async generator of `Stretch`, what lies between two positions, and of what else a server says. It knows nothing
of retries and reads on only when asked, so a slow consumer slows its own line and nobody else's. What went wrong is
`Broken`, `Reset`, or an error of the library that no retry helps.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator
from typing import Any, Literal, NamedTuple

import httpx
import msgspec
import zstandard
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from playhead.client.http import Http, raise_for
from playhead.errors import AccessDenied, CursorGone, RequestRefused
from playhead.events import Cursor, Event, Filter
from playhead.times import time_text

_PROTOCOLS = [Subprotocol("playhead.v1.zstd"), Subprotocol("playhead.v1")]
_PING_S, _PING_TIMEOUT_S = 1.5, 2.5  # so a server that has gone silent is noticed within 4 s
_SILENT_S = 20.0  # the server sends a heartbeat every 15 s
_PERHAPS_AWAY = (502, 503, 504)
_PAGE = 1000
_NAMES = {"execution_id": "executionId", "batch_id": "batchId", "job_id": "jobId", "type": "type"}


class Stretch(NamedTuple):
    """
    The events of ``(start, to]`` that match; a ``start`` of None only moves the position on.

    ``head`` is where the server's log ended, when it said so.
    """

    start: Cursor | None
    to: Cursor
    events: list[Event]
    head: Cursor | None = None


class Told(NamedTuple):
    """How the server is: why it is on its own, or empty."""

    degraded: str


class Provisional(NamedTuple):
    """Events that have no seq yet (0 here); each comes again in a stretch."""

    events: list[Event]


Heard = Stretch | Told | Provisional


class Reset(Exception):
    """The position is no longer held; it can be read on from ``oldest``."""

    def __init__(self, oldest: Cursor, reason: object) -> None:
        super().__init__(oldest, reason)
        self.oldest = oldest
        self.reason: Literal["epoch", "trimmed"] = "epoch" if reason == "epoch" else "trimmed"


class Broken(Exception):
    """
    The connection is of no more use.

    Attributes:
        is_unsuited: This transport does not get through at all; None: perhaps, or the server is away behind a proxy.
    """

    def __init__(self, reason: str, *, is_unsuited: bool | None = False) -> None:
        super().__init__(reason)
        self.is_unsuited = is_unsuited


class _Message(msgspec.Struct, rename={"start": "from"}):
    op: str
    id: str | None = None
    start: str | None = None
    to: str | None = None
    at: str | None = None
    head: str | None = None
    reason: str | None = None
    oldest: str | None = None
    code: str | None = None
    message: str | None = None
    state: str | None = None
    events: list[Event] = []


class _Pagination(msgspec.Struct, rename="camel"):
    has_more: bool
    next_cursor: str


class _Page(msgspec.Struct):
    events: list[Event]
    pagination: _Pagination


_decode = msgspec.json.Decoder(_Message).decode
_decode_page = msgspec.json.Decoder(_Page).decode


def wire_filter(where: Filter) -> list[tuple[str, str]]:
    """A filter as query parameters."""
    found = [
        (wire, value.replace(",", "\\,")) for name, wire in _NAMES.items() for value in getattr(where, name)
    ]
    return found + [(name, time_text(value)) for name in ("since", "until") if (value := getattr(where, name))]


def message_filter(where: Filter) -> dict[str, Any]:
    """A filter as a subscription's object."""
    found: dict[str, Any] = {wire: list(values) for name, wire in _NAMES.items() if (values := getattr(where, name))}
    return found | {name: time_text(value) for name in ("since", "until") if (value := getattr(where, name))}


# at debug each line of a socket is logged, and so the token: not even then
_lines_log = logging.getLogger("playhead.client.lines")
_lines_log.setLevel(logging.INFO)


async def opened(http: Http) -> ClientConnection:
    """A WebSocket, access not settled yet; raises Broken, AccessDenied or OSError."""
    try:
        return await connect(
            http.websocket_url(), additional_headers=http.headers(), subprotocols=_PROTOCOLS, compression=None,
            max_size=None, ping_interval=_PING_S, ping_timeout=_PING_TIMEOUT_S, open_timeout=5, close_timeout=1,
            proxy=True if http.trusts_environment else None, ssl=http.tls, logger=_lines_log,
        )  # fmt: skip
    except InvalidStatus as error:
        status = error.response.status_code
        if status in (401, 403):
            raise AccessDenied(http.url, "the WebSocket was refused") from error
        reason = f"the WebSocket was answered with {status}"
        raise Broken(reason, is_unsuited=None if status in _PERHAPS_AWAY else True) from error
    except InvalidHandshake as error:
        raise Broken(f"no WebSocket gets through: {error}", is_unsuited=True) from error
    except TimeoutError as error:
        raise Broken("the server does not answer") from error


_PROVISIONAL = b'{"op":"provisional"'


def _provisional(events: list[dict[str, Any]]) -> Provisional:
    return Provisional([msgspec.convert({"seq": 0} | event, Event, strict=False) for event in events])


def _told(said: dict[str, Any]) -> Told:
    return Told(str(said.get("reason") or "no reason is known") if said.get("state") == "degraded" else "")


async def websocket(http: Http, where: Filter, after: str) -> AsyncGenerator[Heard]:
    """By subprotocol ``playhead.v1.zstd``; pings notice a dead line."""
    socket = await opened(http)
    try:
        inflate = zstandard.ZstdDecompressor().decompressobj
        ask = {"op": "subscribe", "id": "s", "filter": message_filter(where), "after": after}
        await socket.send(json.dumps(ask))
        async for frame in socket:
            text = inflate().decompress(frame) if isinstance(frame, bytes) else frame.encode()
            if text.startswith(_PROVISIONAL):
                yield _provisional(msgspec.json.decode(text)["events"])
                continue
            message = _decode(text)
            if message.op == "events" and message.start is not None and message.to is not None:
                yield Stretch(Cursor.parse(message.start), Cursor.parse(message.to), message.events)
            elif message.op == "subscribed" and message.start is not None:
                start = Cursor.parse(message.start)
                yield Stretch(start, start, [], Cursor.parse(message.head) if message.head else None)
            elif message.op in ("heartbeat", "caught_up") and message.at is not None:
                yield Stretch(None, Cursor.parse(message.at), [])
            elif message.op == "status":
                yield _told({"state": message.state, "reason": message.reason})
            elif message.op == "reset":
                raise Reset(Cursor.parse(message.oldest or ""), message.reason)
            elif message.op == "error":
                status = int(message.code) if message.code and message.code.isdigit() else 400
                raise RequestRefused(status, "the subscription was refused", message.message or "")
        raise Broken("the server closed the connection")
    except ConnectionClosed as error:
        code, reason = (error.rcvd.code, error.rcvd.reason) if error.rcvd else (1006, "")
        if code in (4401, 4403, 4408):
            raise AccessDenied(http.url, reason) from error
        raise Broken(f"the connection ended ({code}{', ' + reason if reason else ''})") from error
    finally:
        await socket.close()


async def sse(http: Http, where: Filter, after: str) -> AsyncGenerator[Heard]:
    """By Server-Sent Events; a cursor travels as ``Last-Event-ID``, and comments tell where the stream begins."""
    headers = http.headers() | {"Accept": "text/event-stream"}
    params = wire_filter(where)
    if after in ("start", "now"):
        params.append(("after", after))
    else:
        headers["Last-Event-ID"] = after
    timeout = httpx.Timeout(_SILENT_S, connect=_PING_TIMEOUT_S)
    async with (
        httpx.AsyncClient(timeout=timeout, **http.options) as client,
        client.stream(
            "GET", f"{http.url}/api/events/stream", params=httpx.QueryParams(tuple(params)), headers=headers
        ) as response,
    ):
        if response.is_error:
            await response.aread()
            reason = f"the event stream was answered with {response.status_code}"
            if response.status_code in (404, 405, 501):
                raise Broken(reason, is_unsuited=True)
            if response.status_code in _PERHAPS_AWAY:
                raise Broken(reason, is_unsuited=None)
            raise_for(http.url, response)
        if "event-stream" not in response.headers.get("content-type", ""):
            raise Broken("something between here and the server swallows streams", is_unsuited=True)
        position: Cursor | None = None
        identity, kind = "", ""
        data: list[str] = []
        async for line in _lines(client, http, response):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "id":
                identity = value
            elif name == "event":
                kind = value
            elif name == "data":
                data.append(value)
            elif not name and value.startswith("from "):
                position = Cursor.parse(value.removeprefix("from "))
                yield Stretch(position, position, [])
            elif not line and kind in ("status", "provisional"):
                said = json.loads("\n".join(data))
                yield _told(said) if kind == "status" else _provisional([said])
                kind, data = "", []
            elif not line and identity:
                if kind == "reset":
                    raise Reset(Cursor.parse(identity), json.loads("".join(data)).get("reason"))
                to = Cursor.parse(identity)
                yield Stretch(position, to, [Event.from_json("\n".join(data))] if data else [])
                position, kind, data, identity = to, "", [], ""
    raise Broken("the stream ended")


async def _lines(client: httpx.AsyncClient, http: Http, response: httpx.Response) -> AsyncGenerator[str]:
    """The lines of a response; while none comes, the server is asked whether it is alive."""
    parts = aiter(response.aiter_text())
    waiting: asyncio.Task[str] | None = None
    rest = ""
    try:
        while True:
            if waiting is None:
                waiting = asyncio.ensure_future(anext(parts))
            done, _ = await asyncio.wait([waiting], timeout=_PING_S)
            if not done:
                await _check_alive(client, http)
                continue
            try:
                text = waiting.result()
            except StopAsyncIteration:
                return
            waiting = None
            *lines, rest = (rest + text).split("\n")
            for line in lines:
                yield line.removesuffix("\r")
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)


async def _check_alive(client: httpx.AsyncClient, http: Http) -> None:
    """Raise Broken where the server answers nothing at all."""
    try:
        await client.get(f"{http.url}/healthz", timeout=_PING_TIMEOUT_S)
    except httpx.TimeoutException:
        raise Broken("the server does not answer") from None


async def polling(http: Http, where: Filter, after: str, interval_s: float) -> AsyncGenerator[Heard]:
    """By pages of history, one each ``interval_s`` seconds when there is nothing more at once."""
    timeout = httpx.Timeout(4.0, connect=_PING_TIMEOUT_S)
    async with httpx.AsyncClient(timeout=timeout, headers=http.headers(), **http.options) as client:
        while True:
            params = [*wire_filter(where), ("after", after), ("limit", str(_PAGE))]
            response = await client.get(f"{http.url}/api/events", params=httpx.QueryParams(tuple(params)))
            try:
                raise_for(http.url, response)
            except CursorGone as gone:
                raise Reset(gone.oldest, gone.reason) from None
            page = _decode_page(response.content)
            to = Cursor.parse(page.pagination.next_cursor)
            begun = time.monotonic()
            yield Stretch(Cursor.parse(after) if after not in ("start", "now") else None, to, page.events)
            after = str(to)
            while not page.pagination.has_more and (left := begun + interval_s - time.monotonic()) > 0:
                await asyncio.sleep(min(left, _PING_S))
                await _check_alive(client, http)
