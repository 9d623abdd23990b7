"""
The WebSocket, subprotocol ``playhead.v1`` (JSON text) or ``playhead.v1.zstd`` (server messages as zstd binary frames).

One task reads what the client says, one runs for each subscription, one sends heartbeats. A message of events says
``from`` and ``to``, so that a lost one is noticed; it is sent only when its events are durable.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import msgspec
import zstandard
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from playhead.bodies import parse_body
from playhead.errors import CursorGone, InvalidEvent, PlayheadError
from playhead.events import Filter
from playhead_server import params
from playhead_server.access import Grant
from playhead_server.fanout import FeedClosed, Reader, Stretch
from playhead_server.problems import Problem, problem_of
from playhead_server.publish import store
from playhead_server.service import Service, service_of

PROTOCOLS = ("playhead.v1.zstd", "playhead.v1")
_AUTH_S = 5.0
_SEND_S = 25.0
_MAX_SUBSCRIPTIONS = 100
_encode = msgspec.json.Encoder().encode


class _Closed(Exception):
    """The socket is to be closed with a code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason


class _Subscription:
    """
    A reader of this socket.

    Attributes:
        sent: The position up to which everything that matches was sent.
        told: The position that the client was last told; it is where the next message says it begins.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.sent = self.told = reader.cursor
        self.task: asyncio.Task[None] | None = None

    def settle(self) -> int:
        """Move on over what does not match, and return the position."""
        if self.sent >= self.reader.cursor and self.reader.is_caught_up:
            self.sent = self.reader.settle()
        return self.sent

    def tell(self, at: int) -> None:
        """The client was told this position."""
        self.told = max(self.told, at)


class _Socket:
    """One connection after it was accepted."""

    def __init__(self, websocket: WebSocket, service: Service) -> None:
        self._socket, self._service = websocket, service
        self._compress = zstandard.ZstdCompressor(3).compress if websocket.scope["subprotocol"] == PROTOCOLS[0] else None
        self._lock = asyncio.Lock()
        self._subscriptions: dict[str, _Subscription] = {}
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._grant: Grant | None = None

    async def run(self) -> None:
        """From access to the end."""
        self._grant = await self._settle_access()
        recording = self._service.recording
        head = str(recording.cursor(self._service.fanout.head))
        await self._send({"op": "welcome", "version": 1, "epoch": recording.epoch, "head": head})
        query = self._socket.query_params
        params.known(query, *params.FILTERS, "after")
        if any(name in query for name in (*params.FILTERS, "after")):
            where = params.filter_of(query, self._grant.organization_id)
            await self._subscribe("default", where, params.single(query, "after"))
        self._spawn(self._heartbeats())
        self._spawn(self._listen())
        try:
            await self._failed
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for subscription in self._subscriptions.values():
                subscription.reader.close()

    def stop(self, code: int, reason: str) -> None:
        """End the connection from outside."""
        if not self._failed.done():
            self._failed.set_exception(_Closed(code, reason))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            if not self._failed.done():
                self._failed.set_exception(error)

    async def _settle_access(self) -> Grant:
        access = self._service.access
        try:
            grant = access.grant(self._socket, takes_ticket=True)
            if grant is None:
                try:
                    async with asyncio.timeout(_AUTH_S):
                        message = await self._receive()
                except TimeoutError:
                    raise _Closed(4408, "no token came within 5 s") from None
                token = message.get("token")
                if message.get("op") != "auth" or not isinstance(token, str):
                    raise _Closed(4401, "send {\"op\": \"auth\", \"token\": …} first")
                grant = access.check(token)
            return grant
        except Problem as problem:
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
            if identity is not None and not isinstance(identity, str):
                raise _Closed(4400, "id must be a string")
            try:
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
                await self._refuse(identity, error)

    def _allowed(self, scope: str) -> Grant:
        if self._grant is None:
            raise Problem(401, "no token came")
        return self._service.access.allowed(self._grant, scope)

    async def _refuse(self, identity: str | None, error: Exception) -> None:
        problem = problem_of(error)
        more = {"index": error.index, "field": error.field} if isinstance(error, InvalidEvent) else {}
        await self._send(
            {"op": "error", "id": identity, "code": str(problem.status), "message": problem.detail} | more
        )

    async def _subscribe(self, identity: str, where: Filter, after: str | None) -> None:
        self._allowed("read")
        if identity in self._subscriptions:
            raise ValueError(f"subscription {identity!r} is there already; unsubscribe it first")
        if len(self._subscriptions) >= _MAX_SUBSCRIPTIONS:
            raise ValueError(f"a socket takes {_MAX_SUBSCRIPTIONS} subscriptions; open another")
        recording = self._service.recording
        try:
            position = params.position(after, recording, "now")
        except CursorGone as gone:
            await self._send_reset(identity, gone)
            return
        if after in (None, "now"):
            position = self._service.fanout.head
        subscription = _Subscription(Reader(self._service.fanout, where, position))
        self._subscriptions[identity] = subscription
        head = str(recording.cursor(self._service.fanout.head))
        await self._send(
            {"op": "subscribed", "id": identity, "from": str(recording.cursor(position)), "head": head}
        )
        subscription.task = self._spawn(self._feed(identity, subscription))

    def _drop(self, identity: str) -> None:
        subscription = self._subscriptions.pop(identity, None)
        if subscription is not None:
            if subscription.task is not None:
                subscription.task.cancel()
            subscription.reader.close()

    async def _feed(self, identity: str, subscription: _Subscription) -> None:
        reader, recording = subscription.reader, self._service.recording
        is_caught_up = False
        while True:
            if not is_caught_up and reader.is_caught_up:
                is_caught_up = True
                at = subscription.settle()
                await self._send({"op": "caught_up", "id": identity, "at": str(recording.cursor(at))})
                subscription.tell(at)
            try:
                stretch = await reader.next()
            except FeedClosed:
                return
            except CursorGone as gone:
                self._subscriptions.pop(identity, None)
                reader.close()
                await self._send_reset(identity, gone)
                return
            if stretch.events:
                await self._send_bytes(_events(identity, recording.epoch, subscription.told, stretch))
                subscription.tell(stretch.to)
            subscription.sent = max(subscription.sent, stretch.to)

    async def _send_reset(self, identity: str, gone: CursorGone) -> None:
        await self._send({"op": "reset", "id": identity, "reason": gone.reason, "oldest": str(gone.oldest)})

    async def _publish(self, identity: str | None, message: dict[str, Any]) -> None:
        events = await asyncio.to_thread(lambda: parse_body(_encode(message.get("events")), "application/json"))
        done = await store(self._service, self._allowed("publish"), events)
        await self._send(
            {
                "op": "published",
                "id": identity,
                "accepted": done.accepted,
                "duplicates": done.duplicates,
                "firstSeq": done.first_seq,
                "lastSeq": done.last_seq,
                "cursor": str(done.cursor),
            }
        )

    async def _heartbeats(self) -> None:
        while True:
            await asyncio.sleep(self._service.settings.heartbeat_s)
            seqs = [subscription.settle() for subscription in self._subscriptions.values()]
            at = min(seqs, default=self._service.fanout.head)
            told = list(self._subscriptions.values())
            await self._send({"op": "heartbeat", "at": f"{self._service.recording.epoch}:{at}"})
            for subscription in told:
                subscription.tell(at)

    async def _send(self, message: dict[str, Any]) -> None:
        await self._send_bytes(_encode(message))

    async def _send_bytes(self, text: bytes) -> None:
        try:
            async with asyncio.timeout(_SEND_S), self._lock:
                if self._compress is not None:
                    await self._socket.send_bytes(self._compress(text))
                else:
                    await self._socket.send_text(text.decode())
        except TimeoutError:
            raise _Closed(4410, "too slow; come back with your cursor") from None


def _events(identity: str, epoch: str, told: int, stretch: Stretch) -> bytes:
    head = _encode({"op": "events", "id": identity, "from": f"{epoch}:{told}", "to": f"{epoch}:{stretch.to}"})
    return head[:-1] + b',"events":[' + b",".join(stretch.events) + b"]}"


_open: set[_Socket] = set()


def stop_all(code: int, reason: str) -> None:
    """Close every socket of this process."""
    for socket in list(_open):
        socket.stop(code, reason)


async def endpoint(websocket: WebSocket) -> None:
    """``GET /api/events/ws``."""
    service = service_of(websocket)
    try:
        service.access.check_origin(websocket)
    except Problem as problem:
        await websocket.send_denial_response(problem.response())
        return
    offered = websocket.scope.get("subprotocols", [])
    chosen = next((name for name in PROTOCOLS if name in offered), None)
    await websocket.accept(subprotocol=chosen)
    websocket.scope["subprotocol"] = chosen
    socket = _Socket(websocket, service)
    _open.add(socket)
    service.sockets += 1
    try:
        await socket.run()
    except WebSocketDisconnect:
        pass
    except _Closed as closed:
        await _close(websocket, closed.code, closed.reason)
    except (Problem, PlayheadError, ValueError) as error:
        found = problem_of(error)
        await _close(websocket, {401: 4401, 403: 4403}.get(found.status, 4400), found.detail)
    finally:
        _open.discard(socket)
        service.sockets -= 1


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    if websocket.application_state is WebSocketState.CONNECTED:
        with contextlib.suppress(RuntimeError, OSError, WebSocketDisconnect, TimeoutError):
            async with asyncio.timeout(2):
                await websocket.close(code, reason[:120])
