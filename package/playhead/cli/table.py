"""Executions as a table for a terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from playhead.state import Execution, Executions

_GLYPH = {"queued": "·", "running": "▸", "completed": "✓", "failed": "✕", "cancelled": "◌"}
_STYLE = {"queued": "dim", "running": "cyan", "completed": "green", "failed": "bold red", "cancelled": "yellow"}
_URL = 44
_RANK = {"failed": 0, "running": 1, "queued": 2, "cancelled": 3, "completed": 4}


def table(executions: Executions, line: str, most: int) -> Table:
    """Executions as a table for a terminal: failed and active first."""
    rows = executions.newest()
    counts = {state: sum(row.state == state for row in rows) for state in _RANK}
    title = "  ".join(f"{_GLYPH[state]} {count} {state}" for state, count in counts.items() if count)
    made = Table(title=f"{title or 'waiting for events'}   {line}", title_justify="left", expand=True, box=None)
    made.add_column("state", no_wrap=True, min_width=11)
    made.add_column("job", no_wrap=True, ratio=3)
    made.add_column("%", no_wrap=True, justify="right", min_width=3)
    made.add_column("step", no_wrap=True, ratio=2)
    made.add_column("where", no_wrap=True, ratio=4)
    rows.sort(key=lambda row: (_RANK[row.state], -row.last_seq))
    for row in rows[:most]:
        made.add_row(*_cells(row), style=_STYLE[row.state])
    if len(rows) > most:
        made.add_row("", f"… and {len(rows) - most:,} more", style="dim")
    return made


def _cells(row: Execution) -> list[Text]:
    percent = "" if row.progress is None else f"{row.progress:.0f}"
    said = f"{_GLYPH[row.state]} {row.state}", row.job_id, percent, row.error or row.step or "", _tail(row.url or "")
    return [_inert(text) for text in said]


def _inert(text: str) -> Text:
    """What an event said, without markup and without what a terminal obeys."""
    return Text("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text))


def _tail(url: str) -> str:
    """The end of an address, which tells more than its beginning."""
    return url if len(url) <= _URL else "…" + url[1 - _URL :]
