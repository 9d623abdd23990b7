"""
The WebSocket, subprotocol ``playhead.v1`` (JSON text) or ``playhead.v1.zstd`` (server messages as zstd binary frames).

One task reads what the client says; a subscription has one only until it has caught up (`subscription`). A message of events
says ``from`` and ``to``, so that a lost one is noticed; it is sent only when its events are durable.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from concurrent.futures import Future
from functools import partial
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from playhead.bodies import parse_message
from playhead.errors import CursorGone, InvalidEvent, PlayheadError
from playhead.events import MAX_ID, Filter
from playhead.recording import Appended
from playhead_server import params
from playhead_server.access import Grant
from playhead_server.connections import widen
from playhead_server.fanout import Reader
from playhead_server.line import Line, TooSlow
from playhead_server.problems import Problem, note, problem_of
from playhead_server.publish import answer, result, submit
from playhead_server.service import Service, service_of
from playhead_server.subscription import Subscription

PROTOCOLS = ("playhead.v1.zstd", "playhead.v1")
_AUTH_S = 5.0
_SEND_S = 25.0
_MAX_SUBSCRIPTIONS = 100
_MAX_PUBLISHING = 64  # requests of one socket that are not answered yet; then no more is read from it
_INLINE_EVENTS = 100
_MAX_REASON = 123  # bytes: RFC 6455, section 5.5, less the code
_encode = msgspec.json.Encoder().encode


class _Closed(Exception):
    """The socket is to be closed with a code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason


class _Socket:
    """One connection after it was accepted."""

    def __init__(self, websocket: WebSocket, send: Send, service: Service) -> None:
        self._socket, self._service = websocket, service
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        is_compressed = websocket.scope["subprotocol"] == PROTOCOLS[0]
        self._line = Line(send, is_compressed=is_compressed, limit_s=_SEND_S, when_broken=self._fail)
        self._subscriptions: dict[str, Subscription] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._publishing, self._published = 0, asyncio.Event()
        self._beat: asyncio.TimerHandle | None = None
        self._telling: asyncio.Task[None] | None = None
        self._grant: Grant | None = None

    async def run(self) -> None:
        """From access to the end."""
        try:
            self._grant = await self._settle_access()
            widen(self._socket.scope)
            fanout = self._service.fanout
            head = f"{fanout.epoch}:{fanout.head}"
            await self._send({"op": "welcome", "version": 1, "epoch": fanout.epoch, "head": head})
            if self._service.trouble is not None:
                await self._send({"op": "status"} | self._service.state())
            query = self._socket.query_params
            params.known(query, *params.FILTERS, "after")
            if any(name in query for name in (*params.FILTERS, "after")):
                where = params.filter_of(query, self._grant.organization_id)
                await self._subscribe("default", where, params.single(query, "after"))
            self._schedule_heartbeat()
            self._spawn(self._listen())
            await self._failed
        finally:
            if self._failed.done() and not self._failed.cancelled():
                self._failed.exception()  # where another error ended it first, nobody asks for this one
            if self._beat is not None:
                self._beat.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._line.close()
            for subscription in self._subscriptions.values():
                subscription.close()

    def tell(self) -> None:
        """Say how the server is, to who was welcomed; on a line that is stuck once, when it is free."""
        if self._grant is not None and not self._failed.done() and (self._telling is None or self._telling.done()):
            self._telling = self._spawn(self._tell())

    async def _tell(self) -> None:
        said: dict[str, str] = {}
        while said != (said := self._service.state()):
            await self._send({"op": "status"} | said)

    def stop(self, code: int, reason: str) -> None:
        """End the connection from outside."""
        self._fail(_Closed(code, reason))

    def _fail(self, error: Exception) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # one that is cancelled before its first step has not begun it
        return task

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            self._fail(error)

    async def _settle_access(self) -> Grant:
        access = self._service.access
        try:
            grant = await access.grant(self._socket, takes_ticket=True)
            if grant is None:
                try:
                    async with asyncio.timeout(_AUTH_S):
                        message = await self._receive()
                except TimeoutError:
                    raise _Closed(4408, "no token came within 5 s") from None
                token = message.get("token")
                if message.get("op") != "auth" or not isinstance(token, str):
                    raise _Closed(4401, "send {\"op\": \"auth\", \"token\": …} first")
                grant = await access.check(token)
            return grant
        except Problem as problem:
            note(self._socket, problem, "socket")
            self._service.metrics.error(problem.status)
            raise _Closed(4401 if problem.status == 401 else 4403, problem.detail) from None

    async def _receive(self) -> dict[str, Any]:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        text = message.get("text") or message.get("bytes") or b""
        try:
            found = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise _Closed(4400, f"not JSON: {error}") from None
        if not isinstance(found, dict):
            raise _Closed(4400, "a message is a JSON object")
        return found

    async def _listen(self) -> None:
        while True:
            message = await self._receive()
            identity = message.get("id")
            op = message.get("op")
            if identity is not None and (not isinstance(identity, str) or len(identity) > MAX_ID):
                raise _Closed(4400, f"id must be a string of at most {MAX_ID} characters")
            try:
                if op in ("subscribe", "publish"):
                    self._service.access.count(self._granted())
                if op == "subscribe":
                    if identity is None:
                        raise ValueError("subscribe needs an id")
                    where = params.filter_of_message(message.get("filter"), self._allowed("read").organization_id)
                    after = message.get("after")
                    if after is not None and not isinstance(after, str):
                        raise ValueError("after is 'start', 'now' or a cursor such as 'k3f9:1041'")
                    await self._subscribe(identity, where, after)
                elif op == "unsubscribe":
                    self._drop(identity or "")
                elif op == "publish":
                    await self._publish(identity, message)
                elif op != "auth":
                    raise ValueError(f"op {str(op)[:40]!r} is none of subscribe, unsubscribe, publish")
            except (Problem, PlayheadError, ValueError) as error:
                await self._send(_refusal(self._service, identity, error))

    def _granted(self) -> Grant:
        if self._grant is None:
            raise Problem(401, "no token came")
        return self._grant

    def _allowed(self, scope: str) -> Grant:
        return self._service.access.allowed(self._granted(), scope)

    async def _subscribe(self, identity: str, where: Filter, after: str | None) -> None:
        self._allowed("read")
        if identity in self._subscriptions:
            raise ValueError(f"subscription {identity!r} is there already; unsubscribe it first")
        if len(self._subscriptions) >= _MAX_SUBSCRIPTIONS:
            raise ValueError(f"a socket takes {_MAX_SUBSCRIPTIONS} subscriptions; open another")
        recording, fanout = self._service.recording, self._service.fanout
        try:
            position = params.position(after, recording, "now")
        except CursorGone as gone:
            await self._send_reset(identity, gone)
            return
        if after in (None, "now"):
            position = fanout.head
        reader = Reader(fanout, where, position)
        subscription = Subscription(identity, reader, self._line, fanout.epoch, self._spawn, self._forget)
        self._subscriptions[identity] = subscription
        told = {"from": f"{fanout.epoch}:{position}", "head": f"{fanout.epoch}:{fanout.head}"}
        await self._send({"op": "subscribed", "id": identity} | told)
        subscription.begin()

    def _forget(self, identity: str) -> None:
        self._subscriptions.pop(identity, None)

    def _drop(self, identity: str) -> None:
        subscription = self._subscriptions.pop(identity, None)
        if subscription is not None:
            subscription.close()

    async def _send_reset(self, identity: str, gone: CursorGone) -> None:
        await self._send({"op": "reset", "id": identity, "reason": gone.reason, "oldest": str(gone.oldest)})

    async def _publish(self, identity: str | None, message: dict[str, Any]) -> None:
        """Queue what was published, in the order it came; the answer goes out once it is durable, and the next is read."""
        while self._publishing >= _MAX_PUBLISHING:
            self._published.clear()
            await self._published.wait()
        grant, given = self._allowed("publish"), message.get("events")
        is_large = isinstance(given, list) and len(given) > _INLINE_EVENTS
        events = await asyncio.to_thread(parse_message, given) if is_large else parse_message(given)
        future = submit(self._service, grant, events)
        self._publishing += 1
        self._service.confirmations.when(future, partial(self._confirm, identity, future))

    def _confirm(self, identity: str | None, future: Future[Appended]) -> None:
        try:
            said = {"op": "published", "id": identity} | answer(result(self._service, future))
        except PlayheadError as error:
            said = _refusal(self._service, identity, error)
        if self._failed.done():
            return
        message = self._line.message(_encode(said))
        if self._line.push(message):
            self._answered()
        else:  # it counts until it is sent, so that who reads no answers cannot go on for ever
            self._spawn(self._line.send(message)).add_done_callback(lambda _: self._answered())

    def _answered(self) -> None:
        self._publishing -= 1
        self._published.set()

    def _schedule_heartbeat(self) -> None:
        self._beat = asyncio.get_running_loop().call_later(self._service.settings.heartbeat_s, self._heartbeat)

    def _heartbeat(self) -> None:
        self._schedule_heartbeat()
        if not self._service.access.holds(self._granted()):
            self._fail(_Closed(4401, "this token has expired or was revoked; come back with another"))
            return
        fanout = self._service.fanout
        at = min((one.settle() for one in self._subscriptions.values()), default=fanout.head)
        text = _encode({"op": "heartbeat", "at": f"{fanout.epoch}:{at}"})
        if self._line.push(self._line.message(text)):  # a line that is stuck has something to say already
            for subscription in self._subscriptions.values():
                subscription.tell(at)

    async def _send(self, message: dict[str, Any]) -> None:
        await self._line.send(self._line.message(_encode(message)))


def _refusal(service: Service, identity: str | None, error: Exception) -> dict[str, Any]:
    problem = problem_of(error)
    service.metrics.error(problem.status)
    more = {"index": error.index, "field": error.field} if isinstance(error, InvalidEvent) else {}
    return {"op": "error", "id": identity, "code": str(problem.status), "message": problem.detail} | more


_open: set[_Socket] = set()


def tell_all() -> None:
    """Say to every socket of this process how the server is."""
    for socket in list(_open):
        socket.tell()


def stop_all(code: int, reason: str) -> None:
    """Close every socket of this process."""
    for socket in list(_open):
        socket.stop(code, reason)


class _Endpoint:
    """``GET /api/events/ws``, at the level of ASGI: a message goes through no more hands than it must."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _serve(WebSocket(scope, receive, send), send)


endpoint = _Endpoint()


async def _serve(websocket: WebSocket, send: Send) -> None:
    service = service_of(websocket)
    try:
        service.access.check_origin(websocket)
    except Problem as problem:
        note(websocket, problem, "socket")
        service.metrics.error(problem.status)
        await websocket.send_denial_response(problem.response())
        return
    offered = websocket.scope.get("subprotocols", [])
    chosen = next((name for name in PROTOCOLS if name in offered), None)
    await websocket.accept(subprotocol=chosen)
    websocket.scope["subprotocol"] = chosen
    socket = _Socket(websocket, send, service)
    _open.add(socket)
    service.sockets += 1
    try:
        await socket.run()
    except (WebSocketDisconnect, OSError):
        pass
    except _Closed as closed:
        await _close(websocket, closed.code, closed.reason)
    except TooSlow:
        await _close(websocket, 4410, "too slow; come back with your cursor")
    except (Problem, PlayheadError, ValueError) as error:
        found = problem_of(error)
        service.metrics.error(found.status)
        await _close(websocket, {401: 4401, 403: 4403}.get(found.status, 4400), found.detail)
    finally:
        _open.discard(socket)
        service.sockets -= 1


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    if websocket.application_state is WebSocketState.CONNECTED:
        with contextlib.suppress(RuntimeError, OSError, WebSocketDisconnect, TimeoutError):
            async with asyncio.timeout(2):
                await websocket.close(code, reason.encode()[:_MAX_REASON].decode(errors="ignore"))
