"""``playhead tail`` and ``playhead status``."""

from __future__ import annotations

import json
import threading
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from playhead.cli.arguments import MaybeTarget, Token, existing
from playhead.cli.table import table
from playhead.client import connect
from playhead.client.status import ConnectionState
from playhead.events import Event
from playhead.state import Executions


def tail(
    target: MaybeTarget = None,
    token: Token = None,
    batch: Annotated[str | None, typer.Option(help="This batch only.")] = None,
    after: Annotated[str, typer.Option(help="'start', 'now' or a cursor.")] = "start",
    count: Annotated[int | None, typer.Option(help="End after so many events.")] = None,
    lines: Annotated[bool, typer.Option("--lines", help="An event a line, as JSON; so it is in a pipe.")] = False,
) -> None:
    """Watch executions live in the terminal; Ctrl-C ends it."""
    console = Console()
    with connect(existing(target), token=token) as client:
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

        def begin_again(reason: str) -> None:
            nonlocal executions
            with lock:
                executions = Executions()

        watch = client.watch(on_events=take, on_status=told, on_reset=begin_again, after=after, batch_id=batch)
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
    target: MaybeTarget = None,
    token: Token = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say how a server or a recording is."""
    with connect(existing(target), token=token) as client:
        figures = client.stats()
    if as_json:
        print(json.dumps(figures))
        return
    if "segments" not in figures:
        print(f"{client.url}, cursor {figures['epoch']}:{figures['head']}")
        print(f"{figures['events']:,} events of {figures['organizationId']}, which is all that this token sees")
        return
    served = f"  serves {figures['recording']}" if "uptimeS" in figures else ""
    print(f"{client.url}{served}, cursor {figures['epoch']}:{figures['head']}")
    print(f"{figures['events']:,} events in {figures['segments']} segments, {figures['bytes'] / 1e6:.1f} MB on disk")
    for gone in figures["missing"]:
        print(f"missing: {gone}")
    if served:
        print(f"{figures['sockets']} sockets, {figures['streams']} streams, up {figures['uptimeS']:.0f} s")
