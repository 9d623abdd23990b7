"""Running a server: its socket, its discovery file, its end. `serve` for the command line, `running` inside a program."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from playhead.client import discovery
from playhead.recording import Recording
from playhead_server import logs, websocket
from playhead_server.access import Access
from playhead_server.app import create_app
from playhead_server.connections import MAX_MESSAGE, HttpConnection, SocketConnection
from playhead_server.settings import Settings

if TYPE_CHECKING:
    from playhead_server.cluster.cluster import Cluster

__all__ = ["Running", "Settings", "running", "serve"]

_SEND_BUFFER = 128 * 1024
_USER_TIMEOUT_MS = 25_000


class _Server(uvicorn.Server):
    """uvicorn that tells sockets to come back (1012) before it waits for them."""

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._stopping = stopping

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping()
        websocket.stop_all(1012, "the server restarts; come back with your cursor")
        await super().shutdown(sockets)


class Running:
    """A server that runs in this process."""

    def __init__(self, url: str, token: str, recording: Recording, server: uvicorn.Server, thread: threading.Thread) -> None:
        self.url, self.token, self.recording = url, token, recording
        self._server, self._thread = server, thread

    def __repr__(self) -> str:
        return f"<Running {self.url}>"

    def stop(self) -> None:
        """End it cleanly; again is harmless."""
        self._server.should_exit = True
        self._thread.join(20)


def _listen(settings: Settings) -> socket.socket:
    """The listening socket; what it is told here, each connection inherits, so a stalled reader is bounded and noticed."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # the protocol must be named: asyncio turns Nagle's algorithm off (40 ms an answer) only for sockets that say TCP
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise ValueError(
            f"cannot listen on port {settings.port} of {settings.host}: {error.strerror}; name another with --port, "
            "or 0 for a free one"
        ) from None
    return listening


def _check_tls(settings: Settings) -> None:
    """Raise ValueError where the certificate and its key cannot be served."""
    if settings.tls_cert is None or settings.tls_key is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key, lambda: "")
    except (OSError, ssl.SSLError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ValueError(
            f"--tls-cert {settings.tls_cert} and --tls-key {settings.tls_key} cannot be served ({said}): they are PEM files, "
            "the key is that of the certificate and has no password"
        ) from None


@contextlib.contextmanager
def _clustered(settings: Settings, recording: Recording, url: str) -> Iterator[Cluster]:
    try:
        from playhead_server.cluster.cluster import Cluster
        from playhead_server.cluster.joining import ForeignLog, LostEnd
    except ModuleNotFoundError as error:
        raise ValueError(f"a log of many servers needs {error.name}: pip install 'playhead[redis]'") from None
    try:
        cluster = Cluster(settings, recording, url)
    except (ForeignLog, LostEnd) as error:
        raise ValueError(str(error)) from error
    try:
        yield cluster
    finally:
        cluster.close()


@contextlib.contextmanager
def _prepared(settings: Settings) -> Iterator[tuple[_Server, socket.socket, Recording, Access, str]]:
    _check_tls(settings)
    with Recording.open(settings.recording, retention_s=settings.retention_s) as recording:
        access = Access(settings)
        with _listen(settings) as listening, contextlib.ExitStack() as opened:
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            url = f"{'http' if settings.tls_cert is None else 'https'}://{host}:{listening.getsockname()[1]}"
            recording.announce(url)
            cluster = opened.enter_context(_clustered(settings, recording, url)) if settings.redis_url else None
            app = create_app(settings, recording, access, cluster)
            config = uvicorn.Config(
                app, http=HttpConnection, ws=SocketConnection, ws_per_message_deflate=False, ws_max_size=MAX_MESSAGE,
                lifespan="on", log_config=None, log_level=logs.of_lines(settings.log_level), access_log=False,
                timeout_graceful_shutdown=5, server_header=False, root_path=settings.root_path,
                proxy_headers=bool(settings.trusted_proxies), forwarded_allow_ips=list(settings.trusted_proxies),
                ssl_certfile=settings.tls_cert, ssl_keyfile=settings.tls_key,
            )  # fmt: skip

            def stopping() -> None:
                app.state.service.stop()

            server = _Server(config, stopping)
            logs.without_queries()
            if settings.write_discovery:
                discovery.write(url, access.token, str(recording.path), os.getpid())
            try:
                yield server, listening, recording, access, url
            finally:
                if settings.write_discovery:
                    discovery.remove(os.getpid())


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C. The first line on stdout is the url alone; logs go to stderr."""
    logs.begin(settings.log_level, settings.log_format)
    # uvicorn gives the signal back when it has ended: then this closes the recording on the way out, with status 0
    signal.signal(signal.SIGTERM, _leave)
    with _prepared(settings) as (server, listening, _, _, url):
        print(url, flush=True)
        gc.collect()
        gc.freeze()  # what is there for good is not gone through at each collection, which would hold up who publishes
        try:
            server.run(sockets=[listening])
        finally:
            gc.unfreeze()  # or what DuckDB counts as leaked at the end is told on stderr


@contextlib.contextmanager
def running(settings: Settings) -> Iterator[Running]:
    """A server in a thread of this process, ended with the block."""
    with _prepared(settings) as (server, listening, recording, access, url):
        is_up = threading.Event()
        original = server.startup

        async def startup(sockets: list[socket.socket] | None = None) -> None:
            await original(sockets)
            is_up.set()

        server.startup = startup  # type: ignore[method-assign]  # the one hook uvicorn has for "it listens now"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="playhead-server", daemon=True)
        thread.start()
        if not is_up.wait(20):
            raise RuntimeError("the server did not start within 20 s")
        found = Running(url, access.token, recording, server, thread)
        try:
            yield found
        finally:
            found.stop()
