"""HTTP to a server: one connection pool, the token in a header, answers or errors of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx

from playhead.errors import AccessDenied, CursorGone, RequestRefused, ServerUnavailable
from playhead.events import Cursor

_TIMEOUT = httpx.Timeout(30.0, connect=5.0)


class Http:
    """Calls to one server."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._client = httpx.Client(base_url=self.url, headers=self.headers(), timeout=_TIMEOUT, trust_env=False)

    def __repr__(self) -> str:
        return f"<Http {self.url}>"

    def headers(self) -> dict[str, str]:
        """What proves who asks."""
        return {"X-Playhead-Token": self._token} if self._token else {}

    def websocket_url(self) -> str:
        """Where the WebSocket is."""
        return "ws" + self.url.removeprefix("http") + "/api/events/ws"

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One answer; raises ServerUnavailable, AccessDenied, CursorGone or RequestRefused."""
        try:
            response = self._client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise ServerUnavailable(self.url, str(error) or type(error).__name__) from error
        raise_for(self.url, response)
        return response

    def stream(self, path: str, params: list[tuple[str, str]], accept: str) -> Iterator[httpx.Response]:
        """One answer that is read as it comes; a generator of one response, closed with it."""
        try:
            query, headers = httpx.QueryParams(tuple(params)), {"Accept": accept}
            with self._client.stream("GET", path, params=query, headers=headers) as response:
                if response.is_error:
                    response.read()
                raise_for(self.url, response)
                yield response
        except httpx.HTTPError as error:
            raise ServerUnavailable(self.url, str(error) or type(error).__name__) from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


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
        raise CursorGone(oldest, oldest, "epoch" if problem.get("reason") == "epoch" else "trimmed")
    raise RequestRefused(response.status_code, str(problem.get("title") or response.reason_phrase), detail)
