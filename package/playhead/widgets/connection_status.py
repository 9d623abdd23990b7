"""`ConnectionStatus`: whether what is shown is live, as a banner or a dot."""

from __future__ import annotations

from typing import Any, Literal

import anywidget
import traitlets

from playhead.client.api import Client
from playhead.client.status import ConnectionState
from playhead.widgets._base import CSS, source, status_text


class ConnectionStatus(anywidget.AnyWidget):
    """
    Green connected, yellow reconnecting with the attempt, red disconnected with what to do; hides itself when stable.

    Args:
        client: Whose connection.
        style: ``"banner"`` or ``"dot"``.
        hide_after: Seconds of a good connection after which the banner hides.
    """

    _esm = source("connection_status.js")
    _css = CSS
    connection = traitlets.Unicode("reconnecting").tag(sync=True)
    text = traitlets.Unicode("connecting").tag(sync=True)
    tooltip = traitlets.Unicode("").tag(sync=True)
    style_name = traitlets.Unicode("banner").tag(sync=True)
    hide_after_ms = traitlets.Float(5000).tag(sync=True)

    def __init__(self, client: Client, *, style: Literal["banner", "dot"] = "banner", hide_after: float = 5.0) -> None:
        if style not in ("banner", "dot"):
            raise ValueError(f"style {style!r} is none of 'banner', 'dot'")
        super().__init__(style_name=style, hide_after_ms=hide_after * 1000)
        self._client_url = client.url
        self._leave = client.on_status(self._told)

    def _told(self, state: ConnectionState) -> None:
        self.connection = state.state
        self.text = status_text(state)
        since = f"{state.transport} since {state.since.astimezone():%H:%M:%S}"
        self.tooltip = f"{self._client_url}\n{since}\n{state.detail}".strip()

    def close(self, *args: Any, **options: Any) -> None:
        """Stop listening and remove the widget."""
        self._leave()
        super().close(*args, **options)
