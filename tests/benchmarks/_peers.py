"""What playhead's delivery is compared with, each as its own documentation has it; run as ``python _peers.py NAME PORT``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import Any


async def broadcast(port: int) -> None:
    """``websockets.broadcast()``: nothing is stored, each message is sent on as it comes."""
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.asyncio.server import broadcast as send_all
    from websockets.exceptions import ConnectionClosed

    readers: set[ServerConnection] = set()

    async def handle(socket: ServerConnection) -> None:
        assert socket.request is not None
        if socket.request.path.startswith("/publish"):
            with contextlib.suppress(ConnectionClosed):
                async for message in socket:
                    send_all(readers, message)
            return
        readers.add(socket)
        try:
            await socket.wait_closed()
        finally:
            readers.discard(socket)

    async with serve(handle, "127.0.0.1", port, compression=None, max_queue=None):
        await asyncio.get_running_loop().create_future()


async def socketio(port: int) -> None:
    """python-socketio on uvicorn: ``emit`` to everybody."""
    import socketio as library
    import uvicorn

    hub: Any = library.AsyncServer(async_mode="asgi", cors_allowed_origins="*")

    async def pub(sid: str, event: dict[str, Any]) -> None:
        await hub.emit("event", event)

    hub.on("pub", pub)
    config = uvicorn.Config(
        library.ASGIApp(hub), host="127.0.0.1", port=port, log_level="warning", ws_per_message_deflate=False
    )
    await uvicorn.Server(config).serve()


async def redis(port: int) -> None:
    """Redis pub/sub behind Starlette: a subscription for each socket."""
    import redis.asyncio as library
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect

    pool = library.Redis(port=int(os.environ["PEER_REDIS_PORT"]), max_connections=10_000)

    async def publish(socket: WebSocket) -> None:
        await socket.accept()
        with contextlib.suppress(WebSocketDisconnect):
            async for message in socket.iter_text():
                await pool.publish("events", message)

    async def read(socket: WebSocket) -> None:
        await socket.accept()
        async with pool.pubsub() as channel:
            await channel.subscribe("events")
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                async for message in channel.listen():
                    if message["type"] == "message":
                        await socket.send_text(message["data"].decode())

    app = Starlette(routes=[WebSocketRoute("/publish", publish), WebSocketRoute("/", read)])
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", ws_per_message_deflate=False)
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run({"broadcast": broadcast, "socketio": socketio, "redis": redis}[sys.argv[1]](int(sys.argv[2])))
