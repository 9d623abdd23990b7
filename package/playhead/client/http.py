"""HTTP to a server: one connection pool a process, the token in a header, answers or errors of ours."""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx

from playhead.errors import AccessDenied, CursorGone, RequestRefused, ServerUnavailable
from playhead.events import Cursor

_TIMEOUT = httpx.Timeout(30.0, connect=5.0)


class Http:
    """Calls to one server."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._pid = 0
        self._pool: httpx.Client | None = None
        self._making = threading.Lock()
        # proxies of the environment are for servers elsewhere
        self.trusts_environment = urlsplit(self.url).hostname not in ("127.0.0.1", "::1", "localhost")
        self._tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"<Http {self.url}>"

    @property
    def tls(self) -> ssl.SSLContext | None:
        """Whom to believe, the same for every transport: SSL_CERT_FILE, else the usual authorities; None for plain http."""
        if self._tls is None and self.url.startswith("https://"):
            self._tls = httpx.create_ssl_context()
        return self._tls

    @property
    def options(self) -> dict[str, Any]:
        """What every pool of httpx to this server is made with."""
        return {"trust_env": self.trusts_environment, "verify": self.tls or True}

    def headers(self) -> dict[str, str]:
        """What proves who asks."""
        return {"X-Playhead-Token": self._token} if self._token else {}

    def websocket_url(self) -> str:
        """Where the WebSocket is."""
        return "ws" + self.url.removeprefix("http") + "/api/events/ws"

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One answer; raises ServerUnavailable, AccessDenied, CursorGone or RequestRefused."""
        try:
            response = self._client().request(method, path, **options)
        except httpx.HTTPError as error:
            raise unavailable(self.url, error) from error
        raise_for(self.url, response)
        return response

    def stream(self, path: str, params: list[tuple[str, str]], accept: str) -> Iterator[httpx.Response]:
        """One answer that is read as it comes; a generator of one response, closed with it."""
        try:
            query, headers = httpx.QueryParams(tuple(params)), {"Accept": accept}
            with self._client().stream("GET", path, params=query, headers=headers) as response:
                if response.is_error:
                    response.read()
                raise_for(self.url, response)
                yield response
        except httpx.HTTPError as error:
            raise unavailable(self.url, error) from error

    def close(self) -> None:
        """Close the connections."""
        pool, self._pool = self._pool, None
        if pool is not None and self._pid == os.getpid():
            pool.close()

    def _client(self) -> httpx.Client:
        """The pool of this process: a forked child must not speak on its parent's connections."""
        if self._pid != os.getpid():
            self._pid, self._pool, self._making = os.getpid(), None, threading.Lock()
        with self._making:  # the publisher's thread and a question may both be the first
            if self._pool is None:
                self._pool = httpx.Client(
                    base_url=self.url, headers=self.headers(), timeout=_TIMEOUT, **self.options
                )
            return self._pool


def unavailable(url: str, error: Exception) -> ServerUnavailable:
    """What a call that got no answer says."""
    return ServerUnavailable(url, why(error))


def why(error: BaseException) -> str:
    """What went wrong with a connection, as a person would say it."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    for kinds, text in _PLAIN:
        if any(isinstance(one, kinds) for one in causes):
            return text
    return str(error) or type(error).__name__


_PLAIN: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (socket.gaierror, "its name is not known"),
    (ConnectionRefusedError, "nothing listens there"),
    ((TimeoutError, httpx.TimeoutException), "it does not answer"),
    (ssl.SSLError, "its certificate is not accepted"),
    ((ConnectionError, httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError), "the connection broke off"),
)


def raise_for(url: str, response: httpx.Response) -> None:
    """Turn a problem+json answer into the error it describes."""
    if not response.is_error:
        return
    try:
        problem = json.loads(response.text)
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    detail = str(problem.get("detail") or response.text[:200] or response.reason_phrase)
    if response.status_code in (401, 403):
        raise AccessDenied(url, detail)
    if response.status_code == 410 and "oldest" in problem:
        oldest = Cursor.parse(str(problem["oldest"]))
        asked = Cursor.parse(str(problem.get("cursor") or oldest))
        raise CursorGone(asked, oldest, "epoch" if problem.get("reason") == "epoch" else "trimmed")
    index = problem.get("index")
    wait = response.headers.get("retry-after", "")
    raise RequestRefused(
        response.status_code,
        str(problem.get("title") or response.reason_phrase),
        detail,
        index if isinstance(index, int) else None,
        float(wait) if wait.isdigit() else None,
    )
