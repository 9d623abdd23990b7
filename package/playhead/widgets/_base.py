"""What the widgets share: their sources, the row that the browser draws, the words for a connection, the static table."""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from playhead.client.status import ConnectionState
from playhead.state import STATES, Execution

_JS = Path(__file__).parent / "js"
CSS = (_JS / "theme.css").read_text()
Row = tuple[str, int, float | None, str | None, str | None, str | None, int]


def source(name: str) -> str:
    """A widget's module: the shared part, then its own; one file, no imports."""
    return (_JS / "shared.js").read_text() + (_JS / name).read_text()


def row_of(execution: Execution) -> Row:
    """What the browser is told of an execution."""
    return (
        execution.job_id, STATES.index(execution.state), execution.progress, execution.step, execution.url,
        execution.error, execution.attempt,
    )  # fmt: skip


def status_text(state: ConnectionState) -> str:
    """A connection in a few words."""
    if state.state == "connected":
        if state.transport == "polling":
            return state.detail or "polling"
        return "recording" if state.transport == "recording" else "live"
    if state.state == "reconnecting":
        return f"reconnecting ({state.attempt})" if state.attempt else "connecting"
    return f"disconnected since {state.since.astimezone():%H:%M} - {state.detail}"


def static_table(executions: Iterable[Execution], most: int = 20) -> str:
    """The last state as HTML that needs no kernel and no script."""
    rows = sorted(executions, key=lambda row: (row.state != "failed", row.state != "running", -row.last_seq))
    counts = ", ".join(f"{n} {state}" for state in STATES if (n := sum(row.state == state for row in rows)))
    cells = "".join(
        f"<tr><td>{row.state}</td><td>{html.escape(row.job_id)}</td>"
        f"<td>{'' if row.progress is None else f'{row.progress:.0f} %'}</td>"
        f"<td>{html.escape(row.error or row.step or '')}</td></tr>"
        for row in rows[:most]
    )
    more = f"<p>and {len(rows) - most:,} more</p>" if len(rows) > most else ""
    return f"<div><b>{len(rows):,} executions</b>: {counts or 'none'}<table>{cells}</table>{more}</div>"


def bundle_with(mime: Any, text: str, table: str) -> Any:
    """A widget's mime bundle with a static table beside the live view."""
    data, metadata = mime if isinstance(mime, tuple) else (mime or {}, {})
    return {**data, "text/plain": text, "text/html": table}, metadata
