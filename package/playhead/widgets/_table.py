"""The last state of a batch as HTML that needs no kernel and no script: what a saved notebook shows."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from playhead.state import Execution
from playhead.times import now

_GLYPHS = {"queued": "○", "running": "▶", "completed": "✓", "failed": "✕", "cancelled": "⊘"}
_SHOWN = ("failed", "running", "queued", "cancelled", "completed")
_MOST = 20


def static_table(rows: Sequence[Execution], title: str | None) -> str:
    """Failed and active first, 20 rows at most, and how many there are more."""
    ordered = sorted(rows, key=lambda row: (_SHOWN.index(row.state), -row.first_seq))
    counts = " · ".join(f"{_GLYPHS[name]} {n:,} {name}" for name in _SHOWN if (n := sum(row.state == name for row in rows)))
    body = "".join(
        f"<tr><td>{_GLYPHS[row.state]} {row.state}</td><td>{escape(row.job_id)}{_attempt(row)}</td>"
        f"<td>{'' if row.progress is None else f'{row.progress:.0f} %'}</td>"
        f'<td style="text-align: left">{escape((row.error or row.step or "")[:200])}</td></tr>'
        for row in ordered[:_MOST]
    )
    more = f"<p>and {len(rows) - _MOST:,} more</p>" if len(rows) > _MOST else ""
    head = "<tr><th>state</th><th>job</th><th>progress</th><th>step or error</th></tr>"
    return (
        f"<div><p><b>{escape(title or 'All batches')}</b>: {counts or 'no executions'}, as of {now():%Y-%m-%d %H:%M:%S} UTC</p>"
        + (f"<table><thead>{head}</thead><tbody>{body}</tbody></table>{more}" if rows else "")
        + "</div>"
    )


def _attempt(row: Execution) -> str:
    return f" (attempt {row.attempt})" if row.attempt > 1 else ""
