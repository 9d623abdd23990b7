"""
What a connection may take: so many bytes before a request is understood, so long until it is whole. uvicorn bounds neither.

- A head, the request line and its headers, has at most 64 KiB and 100 headers; that of a WebSocket no line over 8 KiB.
  Else 431.
- A head is whole within 10 s of the connection or of its first byte, a body within 120 s of its head. Else 408, or, where an
  answer has begun, the connection is closed.
- Before a WebSocket has been let in, its messages have at most 64 KiB; then 17 MiB, as a request to publish may have.

What is refused here never reaches the application; the answer is problem+json all the same.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from playhead_server.problems import Problem

MAX_HEAD = 64 * 1024
MAX_HEADERS = 100
MAX_MESSAGE = 17 * 2**20
HEAD_S = 10.0
BODY_S = 120.0
_MAX_LINE = 8_000  # of a WebSocket's head: websockets reads no longer ones
_WIDEN = "playhead.widen"


def widen(scope: Any) -> None:
    """Take large messages of this WebSocket from now on: it was let in."""
    if (extension := scope.get("extensions", {}).get(_WIDEN)) is not None:
        extension["now"]()


class HttpConnection(HttpToolsProtocol):
    """A connection that speaks HTTP/1.1."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._vain = 0  # bytes that came since something was understood
        self._is_in_head = self._is_arriving = self._is_upgraded = False
        self._refusal: Problem | None = None
        self._running: RequestResponseCycle | None = None  # `cycle` is the newest, which may wait for it

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._within(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._vain += len(data)
        super().data_received(data)
        if self._is_upgraded or self.transport.is_closing():
            return
        if self._vain > MAX_HEAD:
            self._refuse(_too_large())
        is_idle = self.cycle is None or self.cycle.response_complete
        if self._deadline is None and (self._is_arriving or is_idle):
            self._within(HEAD_S if self._is_in_head or not self._is_arriving else BODY_S)

    def eof_received(self) -> None:
        self._let_go()

    def _let_go(self) -> None:
        """The transport closes: what the application still says, until it hears of that, goes nowhere. uvloop would raise."""
        if self._running is not None:
            self._running.transport = _Closed(self.transport)  # type: ignore[assignment]  # it writes, and closes, no more

    def on_message_begin(self) -> None:
        self._is_in_head = self._is_arriving = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._settle()
        self._vain, self._is_in_head = 0, False
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        lines = (len(self.url), *(len(name) + len(value) for name, value in self.headers)) if self._should_upgrade() else (0,)
        if size > MAX_HEAD or len(self.headers) > MAX_HEADERS or max(lines) > _MAX_LINE:
            self._refusal = _too_large()
            raise ValueError  # the parser stops, and says 400: see send_400_response
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._vain = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._settle()
        self._vain, self._is_arriving = 0, False
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._settle()
        self._is_upgraded = True
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or Problem(400, "what came is no request of HTTP/1.1"))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _within(self, seconds: float) -> None:
        self._deadline = self.loop.call_later(seconds, self._give_up)

    def _settle(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self._is_arriving or self._vain:
            self._refuse(Problem(408, f"this was not whole in time: a head takes at most {HEAD_S:g} s, a body {BODY_S:g} s"))
        else:
            self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        """Answer, where no answer has begun, and end the connection."""
        self._settle()
        if self.transport.is_closing():
            return
        cycle = self._running
        is_answering = cycle is not None and cycle.response_started and not cycle.response_complete
        if not is_answering and not self.pipeline:
            response = problem.response()
            said = [(b"connection", b"close"), *self.server_state.default_headers, *response.raw_headers]
            head = b"".join(b"%b: %b\r\n" % field for field in said)
            first = f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n".encode()
            self.transport.write(first + head + b"\r\n" + bytes(response.body))
        self._let_go()
        self.transport.close()


class _Closed:
    """In place of a transport that is closing."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        """Nothing: nobody is there."""

    def close(self) -> None:
        """Again is harmless."""
        self._transport.close()

    def is_closing(self) -> bool:
        """It is."""
        return True


class SocketConnection(WebSocketsSansIOProtocol):
    """A connection that speaks WebSocket."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.conn.max_message_size = MAX_HEAD
        self._application, self.app = self.app, self._serve

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            self.scope["extensions"] = {**(self.scope["extensions"] or {}), _WIDEN: {"now": self._widen}}

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        await self._application(scope, receive, send)
        if self.initial_response is not None:  # a refusal is an answer; uvicorn logs it as a failure of the application
            self.handshake_complete = True

    def _widen(self) -> None:
        self.conn.max_message_size = MAX_MESSAGE


def _too_large() -> Problem:
    limit = f"{MAX_HEAD:,} bytes and {MAX_HEADERS} headers, that of a WebSocket {_MAX_LINE:,} a line"
    return Problem(431, f"a head takes at most {limit}")
