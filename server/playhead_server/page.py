"""The page at ``/``: links to the calls that a browser can show. It holds nothing of the recording, so it needs no token."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

# relative, as a proxy may serve it at any path
_LINKS = (
    ("api/batches", "Batches", "newest first"),
    ("api/executions?limit=100", "Executions", "as they are now"),
    ("api/events?order=desc&limit=100", "Events", "the newest hundred"),
    ("api/events?format=csv", "All events as CSV", "to download"),
    ("api/events?format=parquet", "All events as Parquet", "to download"),
    ("api/stats", "Figures", "what is held, who is connected"),
    ("readyz", "Health", "able to serve or not"),
    ("api/openapi.json", "Every call", "and its parameters, as OpenAPI"),
)
_ITEMS = "\n".join(
    f'<li><a href="{href.replace("&", "&amp;")}">{title}</a>, {about}</li>' for href, title, about in _LINKS
)  # fmt: skip
_PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>playhead</title>
<style>:root {{ color-scheme: light dark }} body {{ font: 1rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto;
padding: 0 1rem }}</style>
</head>
<body>
<h1>playhead</h1>
<p>The server of a recording runs here. What it answers:</p>
<ul>
{_ITEMS}
</ul>
<p>In a notebook on the same machine: <code>client = playhead.connect()</code>, then
<code>playhead.Dashboard(client)</code>.</p>
<p>In Jupyter the links work as they are. Elsewhere all but the health need the server's token, as the header
<code>X-Playhead-Token</code>.</p>
</body>
</html>
"""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


async def get_page(request: Request) -> Response:
    """``GET /``."""
    return HTMLResponse(_PAGE, headers=_HEADERS)
