"""
The page at ``/``: how the server does, live, how to connect to it, and links to the calls that a browser can show.

It is ``page.html`` with ``page.css``, the two scripts and the icon set into it: one answer, the same for everybody. It holds
nothing of the recording, so it needs no token: the script asks ``readyz``, ``api/stats`` and ``api/batches``, with a token that
the person types where nothing in front of the server adds one. Only this style and this script are let run, by their hashes
(Content Security Policy Level 3, section 2.3.1).
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

_HERE = Path(__file__).parent


def _hash(text: str) -> str:
    """The source expression that allows an inline style or script with this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _part(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


_STYLE, _SCRIPT, _ICON = _part("page.css"), _part("page_shown.js") + _part("page.js"), _part("playhead.svg")
_PAGE = (
    _part("page.html")
    .replace("playhead.svg", f"data:image/svg+xml;base64,{base64.b64encode(_ICON.encode()).decode()}")
    .replace("/* page.css */", _STYLE)
    .replace("/* page.js */", _SCRIPT)
)
_POLICY = {
    "default-src": "'none'",
    "script-src": _hash(_SCRIPT),
    "style-src": _hash(_STYLE),
    "img-src": "data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",  # the token's form is the script's alone; without it, nothing is sent
    "frame-ancestors": "'self'",
}
_HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


async def get_page(request: Request) -> Response:
    """``GET /``."""
    return HTMLResponse(_PAGE, headers=_HEADERS)
