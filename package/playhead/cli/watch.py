"""``playhead tail`` and ``playhead status``."""

from __future__ import annotations

import json
import threading
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from playhead.client import connect
from playhead.client.status import ConnectionState
from playhead.events import Event
from playhead.state import Execution, Executions

_GLYPH = {"queued": "·", "running": "▸", "completed": "✓", "failed": "✕", "cancelled": "◌"}
_STYLE = {"queued": "dim", "running": "cyan", "completed": "green", "failed": "bold red", "cancelled": "yellow"}
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


def _cells(row: Execution) -> tuple[str, str, str, str, str]:
    percent = "" if row.progress is None else f"{row.progress:.0f}"
    return f"{_GLYPH[row.state]} {row.state}", row.job_id, percent, row.error or row.step or "", row.url or ""


def tail(
    url: Annotated[str | None, typer.Argument(help="A server; the local one when not given.")] = None,
    token: Annotated[str | None, typer.Option(envvar="PLAYHEAD_TOKEN", help="Its token.")] = None,
    batch: Annotated[str | None, typer.Option(help="This batch only.")] = None,
    after: Annotated[str, typer.Option(help="'start', 'now' or a cursor.")] = "start",
    count: Annotated[int | None, typer.Option(help="End after so many events.")] = None,
    lines: Annotated[bool, typer.Option("--lines", help="An event a line, as JSON; so it is in a pipe.")] = False,
) -> None:
    """Watch executions live in the terminal; Ctrl-C ends it."""
    console = Console()
    with connect(url, token=token) as client:
        if lines or not console.is_terminal:
            for seen, event in enumerate(client.follow(after=after, batch_id=batch), 1):
                print(event.to_json().decode(), flush=True)
                if seen == count:
                    return
            return
        executions, lock, done = Executions(), threading.Lock(), threading.Event()
        state = [client.status]
        total = 0

        def take(events: list[Event], cursor: str) -> None:
            nonlocal total
            with lock:
                for event in events:
                    executions.apply(event)
            total += len(events)
            if count is not None and total >= count:
                done.set()

        def told(new: ConnectionState) -> None:
            state[0] = new

        watch = client.watch(on_events=take, on_status=told, after=after, batch_id=batch)
        try:
            with Live(console=console, refresh_per_second=8) as live:
                while not done.wait(0.125) and watch.error is None:
                    line = state[0].state + (f" ({state[0].attempt})" if state[0].attempt else "")
                    with lock:
                        live.update(table(executions, line, max(5, console.height - 4)))
        finally:
            watch.close()
        if watch.error is not None:
            raise watch.error


def status(
    url: Annotated[str | None, typer.Argument(help="A server; the local one when not given.")] = None,
    token: Annotated[str | None, typer.Option(envvar="PLAYHEAD_TOKEN", help="Its token.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say how a server is."""
    from playhead.client.remote import RemoteClient

    client = connect(url, token=token)
    if not isinstance(client, RemoteClient):
        with client:
            raise ValueError("status asks a server; for a recording use `playhead export` or a notebook")
    with client:
        figures = client.stats()
    if as_json:
        print(json.dumps(figures))
        return
    print(f"{client.url}  serves {figures['recording']}, cursor {figures['epoch']}:{figures['head']}")
    print(f"{figures['events']:,} events in {figures['segments']} segments, {figures['bytes'] / 1e6:.1f} MB on disk")
    print(f"{figures['sockets']} sockets, {figures['streams']} streams, up {figures['uptimeS']:.0f} s")


