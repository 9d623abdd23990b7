"""Errors as problem+json (RFC 9457): one place that says which error has which status."""

from __future__ import annotations

import logging
import time
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response

from playhead import errors

_log = logging.getLogger("playhead.server")
_NOTED_A_SECOND = 20


class Problem(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None, **more: Any) -> None:
        super().__init__(status, detail)
        self.status, self.detail, self.headers, self.more = status, detail, headers or {}, more

    def response(self) -> Response:
        """As problem+json."""
        body = {"type": "about:blank", "title": HTTPStatus(self.status).phrase, "status": self.status, "detail": self.detail}
        return JSONResponse(body | self.more, self.status, self.headers, "application/problem+json")


_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (errors.InvalidBody, 400),
    (errors.InvalidCursor, 400),
    (errors.TooLarge, 413),
    (errors.UnsupportedMediaType, 415),
)


def problem_of(error: Exception) -> Problem:
    """What a client is told of an error of the library."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, errors.InvalidEvent):
        return Problem(422, str(error), index=error.index, field=error.field)
    if isinstance(error, errors.CursorGone):
        return Problem(410, str(error), reason=error.reason, cursor=str(error.cursor), oldest=str(error.oldest))
    if isinstance(error, errors.QueueFull):
        return Problem(429, str(error), {"Retry-After": str(max(1, round(error.retry_after_s)))})
    if isinstance(error, errors.RecordingFull | errors.RecordingClosed):
        return Problem(503, str(error), {"Retry-After": "5"})
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return Problem(status, str(error))
    if isinstance(error, ValueError):
        return Problem(400, str(error))
    return Problem(500, "the server failed on this request; its log says why")


async def on_error(request: Request, error: Exception) -> Response:
    """Starlette's exception handler for errors of ours; who is not let in is noted."""
    problem = problem_of(error)
    note(request, problem, request.method)
    return problem.response()


def note(connection: HTTPConnection, problem: Problem, what: str) -> None:
    """Log who was refused what for want of a right, or for asking too much; a flood of them does not fill the log."""
    if problem.status in (401, 403, 429) and _may_note():
        peer = connection.client.host if connection.client is not None else "somebody"
        _log.info("%d to %s, %s %s: %s", problem.status, peer, what, path_of(connection), problem.detail)


def path_of(connection: HTTPConnection) -> str:
    """Its path on one line; ``connection.url`` is not to be had where the query is no UTF-8."""
    return quote(connection.scope["path"])[:200]


_noted = [0, 0]  # the second, and how many were noted in it


def _may_note() -> bool:
    second = int(time.monotonic())
    _noted[:] = [second, _noted[1] + 1 if second == _noted[0] else 1]
    if _noted[1] == _NOTED_A_SECOND + 1:
        _log.warning("more than %d refusals a second: the others of this second are only counted", _NOTED_A_SECOND)
    return _noted[1] <= _NOTED_A_SECOND


async def on_http_error(request: Request, error: Exception) -> Response:
    """Starlette's own 404 and 405 in the same form."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    described = f"{request.scope.get('root_path', '')}/api/openapi.json"
    detail = {404: f"nothing is at {path_of(request)}; see {described}", 405: f"{request.method} is not for this path"}
    return Problem(status, detail.get(status, HTTPStatus(status).phrase), headers).response()
