"""`ConnectionStatus`: whether what is shown is live, as a banner or a dot."""

from __future__ import annotations

from typing import Literal

import traitlets

from playhead.client.api import Client
from playhead.client.status import ConnectionState
from playhead.widgets._arguments import checked_client, checked_seconds
from playhead.widgets._live import LiveWidget, built


class ConnectionStatus(LiveWidget):
    """
    Green connected, yellow reconnecting with the attempt, red disconnected with what to do; each with glyph and word too.

    The tooltip tells url, transport, since when, and what happened. The banner hides itself when all is well and comes back
    at the next change; the dot stays.

    Args:
        client: Whose connection.
        style: ``"banner"`` or ``"dot"``.
        hide_after: Seconds of a good connection after which the banner hides.

    Raises:
        TypeError: ``client`` is not one that ``ph.connect()`` gives.
        ValueError: an unknown ``style``, or a ``hide_after`` below 0.
    """

    _esm = built("connection_status.js")
    appearance = traitlets.Unicode(read_only=True).tag(sync=True)
    hide_after_ms = traitlets.Float(5000).tag(sync=True)

    def __init__(self, client: Client, *, style: Literal["banner", "dot"] = "banner", hide_after: float = 5.0) -> None:
        known = checked_client(client, "ConnectionStatus")
        if style not in ("banner", "dot"):
            raise ValueError(f"style {style!r} is not known; write style='banner' or style='dot'")
        self._style = style
        super().__init__(known.url, hide_after_ms=checked_seconds("hide_after", hide_after, least=0) * 1000)
        self._is_told = False
        self._stop_listening = known.on_status(self._on_status)
        with self._guard:  # the client may have been connected long before
            if not self._is_told:
                self._told(known.status)

    @traitlets.default("appearance")  # type: ignore[untyped-decorator]  # traitlets has no types here
    def _the_style(self) -> str:
        return self._style

    def _on_status(self, state: ConnectionState) -> None:
        self._is_told = True
        self._told(state)

    def _leave(self) -> None:
        self._stop_listening()

    def __repr__(self) -> str:
        return f"<ConnectionStatus of {self._url}: {self.connection.state}>"
